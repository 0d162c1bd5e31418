/* Runs a model on one input of floats, with nothing but libpyruntime:
 *
 *     run MODEL.pyrt INPUT OUTPUT DIM...
 *
 * INPUT holds the floats of an array of the given shape, OUTPUT gets those of all outputs, one behind the other.
 * How to build it for a board: docs/guides/boards.md. */
#include <pyruntime.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(call)                            \
  if ((call) != PYRT_OK) {                     \
    fprintf(stderr, "%s\n", pyrt_error());     \
    return 1;                                  \
  }

static size_t elements(const int64_t* dims, int rank) {
  size_t n = 1;
  for (int d = 0; d < rank; ++d) n *= (size_t)dims[d];
  return n;
}

int main(int argc, char** argv) {
  if (argc < 5 || argc > 4 + PYRT_MAX_RANK) {
    fprintf(stderr, "usage: %s MODEL.pyrt INPUT OUTPUT DIM...\n", argv[0]);
    return 2;
  }
  const int rank = argc - 4;
  int64_t dims[PYRT_MAX_RANK];
  for (int d = 0; d < rank; ++d) dims[d] = atoll(argv[4 + d]);
  const size_t n = elements(dims, rank);
  float* input = malloc(n * sizeof(float));
  FILE* in = fopen(argv[2], "rb");
  if (!input || !in || fread(input, sizeof(float), n, in) != n) {
    fprintf(stderr, "%s does not hold %lu floats\n", argv[2], (unsigned long)n);
    return 1;
  }
  fclose(in);

  pyrt_model* model;
  pyrt_session* session;
  CHECK(pyrt_model_open(argv[1], 0, &model));
  CHECK(pyrt_session_create(model, &session));
  CHECK(pyrt_session_set_input(session, 0, input, dims, rank));
  CHECK(pyrt_session_run(session));

  FILE* out = fopen(argv[3], "wb");
  for (size_t i = 0; i < pyrt_output_count(model); ++i) {
    pyrt_info info;
    CHECK(pyrt_session_output_info(session, i, &info));
    const size_t count = elements(info.dims, info.rank);
    float* output = malloc(count * sizeof(float));
    CHECK(pyrt_session_read_output(session, i, output, count));
    if (!out || fwrite(output, sizeof(float), count, out) != count) {
      fprintf(stderr, "cannot write %s\n", argv[3]);
      return 1;
    }
    free(output);
  }
  fclose(out);
  pyrt_session_destroy(session);
  pyrt_model_close(model);
  free(input);
  return 0;
}
