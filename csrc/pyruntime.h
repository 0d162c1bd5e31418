/* pyruntime: run compressed neural networks without decompressing them. The public C API.
 *
 * Every function that can fail returns a status; pyrt_error() then tells what happened, in words, until the next call
 * on this thread. Handles are opaque. A model may be shared by threads; a session belongs to one caller at a time.
 */
#ifndef PYRUNTIME_H_
#define PYRUNTIME_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define PYRT_API __attribute__((visibility("default")))
#else
#define PYRT_API
#endif

typedef struct pyrt_model pyrt_model;
typedef struct pyrt_session pyrt_session;

typedef enum {
  PYRT_OK = 0,
  PYRT_NOT_FOUND = 1,        /* no such file */
  PYRT_IO = 2,               /* the file cannot be read */
  PYRT_INVALID_FILE = 3,     /* not a .pyrt file, damaged, or of another version */
  PYRT_INVALID_ARGUMENT = 4, /* a shape, index or handle is not what it has to be */
  PYRT_OUT_OF_MEMORY = 5
} pyrt_status;

#define PYRT_MAX_RANK 6

typedef enum { PYRT_F32 = 1, PYRT_I32 = 3, PYRT_I64 = 4 } pyrt_dtype;

/* An input or output. Dimension d is dims[d], or unknown until run time when dims[d] is -1. */
typedef struct {
  const char* name; /* lives as long as the model */
  int32_t rank;
  int64_t dims[PYRT_MAX_RANK];
  pyrt_dtype dtype;
} pyrt_info;

PYRT_API const char* pyrt_version(void);
/* What went wrong in the last call of this thread that failed; never null. */
PYRT_API const char* pyrt_error(void);

/* Maps a file and validates it. threads: 0 for all processors this process may use. */
PYRT_API pyrt_status pyrt_model_open(const char* path, int threads, pyrt_model** model);
/* Uses `size` bytes at `data` in place: 64-byte aligned, unchanged until the model is closed. */
PYRT_API pyrt_status pyrt_model_open_memory(const void* data, size_t size, int threads, pyrt_model** model);
/* Destroy the sessions of a model before it. Null is allowed. */
PYRT_API void pyrt_model_close(pyrt_model* model);

PYRT_API size_t pyrt_input_count(const pyrt_model* model);
PYRT_API size_t pyrt_output_count(const pyrt_model* model);
PYRT_API pyrt_status pyrt_input_info(const pyrt_model* model, size_t index, pyrt_info* info);
/* The dims of an output depend on those of the inputs: here they are all -1. */
PYRT_API pyrt_status pyrt_output_info(const pyrt_model* model, size_t index, pyrt_info* info);

PYRT_API pyrt_status pyrt_session_create(pyrt_model* model, pyrt_session** session);
PYRT_API void pyrt_session_destroy(pyrt_session* session);
/* Sets an input to C-contiguous f32 data, which must stay until pyrt_session_run returns. */
PYRT_API pyrt_status pyrt_session_set_input(pyrt_session* session, size_t index, const float* data, const int64_t* dims,
                                            int rank);
/* The same for an input of integers, whose dtype is PYRT_I64 or PYRT_I32: both functions serve either. Values reach
   from -2^24 to 2^24. */
PYRT_API pyrt_status pyrt_session_set_input_i64(pyrt_session* session, size_t index, const int64_t* data,
                                                const int64_t* dims, int rank);
PYRT_API pyrt_status pyrt_session_set_input_i32(pyrt_session* session, size_t index, const int32_t* data,
                                                const int64_t* dims, int rank);
PYRT_API pyrt_status pyrt_session_run(pyrt_session* session);
/* The shape of an output of the last run. */
PYRT_API pyrt_status pyrt_session_output_info(const pyrt_session* session, size_t index, pyrt_info* info);
/* Copies an output of the last run, C-contiguous, to `data`, which has room for `capacity` floats. */
PYRT_API pyrt_status pyrt_session_read_output(const pyrt_session* session, size_t index, float* data, size_t capacity);

#ifdef __cplusplus
}
#endif

#endif /* PYRUNTIME_H_ */
