// CRC-32 (IEEE 802.3, reflected, polynomial 0xEDB88320) as in zlib and PNG.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pyrt {

uint32_t crc32(const void* data, size_t size);

}  // namespace pyrt
