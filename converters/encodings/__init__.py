"""Exact encodings of weight matrices: structure x values x coding (docs/format.md section 2).

rows, panels and csr lay entries out; codebook replaces values by indices; huffman codes integer streams;
choose finds what structure a matrix has and picks the encoding.
"""
