/* Calls compiled kernels on an ARM processor, real or emulated, without TVM's run time: one core, nothing but C.

   guest FILE OUT REPEATS. FILE: tensors, then calls, then what to write to OUT; see guest.py, which makes it. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { int32_t type_index; uint32_t padding; void *pointer; } Any;
typedef struct { int32_t device_type, device_id; } Device;
typedef struct { uint8_t code, bits; uint16_t lanes; } Type;
typedef struct {
  void *data; Device device; int32_t ndim; Type dtype; int64_t *shape, *strides; uint64_t byte_offset;
} Tensor;
typedef struct { void *sync; int32_t tasks; } Group;
typedef int (*Kernel)(void *, const Any *, int32_t, Any *);
enum { POINTER_TO_TENSOR = 7, CPU = 1, ALIGNMENT = 128 };

extern const Kernel kernels[];

static int launch(int (*task)(int, Group *, void *), void *data, int tasks) {
  Group group = {0, 1};
  (void)tasks;
  return task(0, &group, data);
}

static void *aligned(uint64_t bytes) {
  void *place = 0;
  return posix_memalign(&place, ALIGNMENT, bytes + ALIGNMENT) ? 0 : place;
}

/* As TVM's run time does, places that were given back are kept for those who ask next. */
enum { KEPT = 16 };
static struct { void *place; uint64_t bytes; } kept[KEPT], lent[KEPT];

static void *allocate(int type, int id, uint64_t bytes, int code, int bits) {
  (void)type; (void)id; (void)code; (void)bits;
  int to = 0;
  while (to < KEPT && lent[to].place) ++to;
  if (to == KEPT) return 0;
  for (int i = 0; i < KEPT; ++i) {
    if (kept[i].place && kept[i].bytes >= bytes) {
      lent[to] = kept[i];
      kept[i].place = 0;
      return lent[to].place;
    }
  }
  lent[to].bytes = bytes;
  return lent[to].place = aligned(bytes);
}

static int release(int type, int id, void *place) {
  (void)type; (void)id;
  int from = 0, to = 0;
  while (from < KEPT && lent[from].place != place) ++from;
  if (from == KEPT) return -1;
  while (to < KEPT && kept[to].place) ++to;
  if (to == KEPT) free(place);
  else kept[to] = lent[from];
  lent[from].place = 0;
  return 0;
}

void *__TVMBackendParallelLaunch = (void *)launch;
void *__TVMBackendAllocWorkspace = (void *)allocate;
void *__TVMBackendFreeWorkspace = (void *)release;

void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count) {
  fprintf(stderr, "%s: ", kind);
  for (int32_t i = 0; i < count; ++i) fputs(parts[i] ? parts[i] : "", stderr);
  fputc('\n', stderr);
}

static void fail(const char *what) {
  fprintf(stderr, "guest: %s\n", what);
  exit(2);
}

static void take(FILE *file, void *into, size_t bytes) {
  if (bytes && fread(into, bytes, 1, file) != 1) fail("the file ends too early");
}

static int64_t number(FILE *file) {
  int64_t value;
  take(file, &value, sizeof value);
  return value;
}

int main(int argc, char **argv) {
  FILE *in = argc == 4 ? fopen(argv[1], "rb") : 0, *out = argc == 4 ? fopen(argv[2], "wb") : 0;
  if (!in || !out) fail("expected FILE OUT REPEATS");
  int64_t count = number(in);
  Tensor *tensors = calloc(count, sizeof *tensors);
  int64_t *bytes = calloc(count, sizeof *bytes);
  for (int64_t i = 0; i < count; ++i) {
    int64_t code = number(in), bits = number(in), ndim = number(in);
    tensors[i].device = (Device){CPU, 0};
    tensors[i].dtype = (Type){(uint8_t)code, (uint8_t)bits, 1};
    tensors[i].ndim = (int32_t)ndim;
    tensors[i].shape = calloc(2 * ndim + 1, sizeof(int64_t));
    tensors[i].strides = tensors[i].shape + ndim;
    take(in, tensors[i].shape, ndim * sizeof(int64_t));
    int64_t elements = 1;
    for (int64_t axis = ndim - 1; axis >= 0; --axis) {
      tensors[i].strides[axis] = elements;
      elements *= tensors[i].shape[axis];
    }
    bytes[i] = elements * bits / 8;
    tensors[i].data = aligned(bytes[i]);
    memset(tensors[i].data, 0xA5, bytes[i]); /* what a kernel forgets to write is seen */
    take(in, tensors[i].data, number(in));
  }
  long calls = ftell(in);
  for (int repeat = 0; repeat < atoi(argv[3]); ++repeat) {
    fseek(in, calls, SEEK_SET);
    for (int64_t left = number(in); left > 0; --left) {
      Any args[64], result = {0, 0, 0};
      int64_t kernel = number(in), arguments = number(in);
      if (arguments > 64) fail("a kernel of more than 64 arguments");
      for (int64_t i = 0; i < arguments; ++i) args[i] = (Any){POINTER_TO_TENSOR, 0, &tensors[number(in)]};
      if (kernels[kernel](0, args, (int32_t)arguments, &result)) fail("a kernel refused its arguments");
    }
  }
  for (int64_t left = number(in); left > 0; --left) {
    int64_t i = number(in);
    if (bytes[i] && fwrite(tensors[i].data, bytes[i], 1, out) != 1) fail("cannot write");
  }
  return fclose(out) ? 2 : 0;
}
