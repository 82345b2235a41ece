/* A PKCS#11 module in front of another one, whose functions fail, hang or lie on request.
 *
 * CHANCERY_FAULTS_MODULE  the module behind it
 * CHANCERY_FAULTS         a directory: the file C_Sign in it, for example, holds the fault of C_Sign
 *
 *   fail CODE    answers CODE (hexadecimal) without calling the module
 *   hang         does not return while the file exists, then continues
 *   lie          C_Sign: another signature than the module's; C_FindObjects: nothing found
 *
 * with "once" behind it: the first call that comes removes the file, and hangs for ever if it is to hang. Each call appends a
 * letter to calls.FUNCTION. The destructor leaves the file `destructed`. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long word;
typedef struct {
  unsigned char version[2];
  void *function[68];
} functions;

static functions *real, ours;

static char *path(char *buffer, const char *prefix, const char *name) {
  snprintf(buffer, 512, "%s/%s%s", getenv("CHANCERY_FAULTS"), prefix, name);
  return buffer;
}

enum { NOTHING, FAIL, LIE };

/* The fault of this call; its error in *code. */
static int fault(const char *name, word *code) {
  char file[512], log[512], text[64] = {0}, what[16] = {0}, rest[32] = {0};
  int fd = open(path(log, "calls.", name), O_WRONLY | O_CREAT | O_APPEND, 0600);
  if (fd >= 0) {
    if (write(fd, "x", 1) != 1) abort();
    close(fd);
  }
  fd = open(path(file, "", name), O_RDONLY);
  if (fd < 0) return NOTHING;
  ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  if (length <= 0) return NOTHING;
  int once = strstr(text, "once") != NULL;
  /* One of several threads finds it. */
  if (once && unlink(file) != 0) return NOTHING;
  sscanf(text, "%15s %31s", what, rest);
  if (!strcmp(what, "hang")) {
    if (once) for (;;) pause();
    while (access(file, F_OK) == 0) usleep(10000);
    return NOTHING;
  }
  if (!strcmp(what, "fail")) {
    *code = strtoul(rest, NULL, 16);
    return FAIL;
  }
  return LIE;
}

#define REAL(index, ...) ((word(*)(__VA_ARGS__))real->function[index])

static word initialize(void *arguments) {
  word code;
  return fault("C_Initialize", &code) == FAIL ? code : REAL(0, void *)(arguments);
}

static word open_session(word slot, word flags, void *application, void *notify, word *session) {
  word code;
  if (fault("C_OpenSession", &code) == FAIL) return code;
  return REAL(12, word, word, void *, void *, word *)(slot, flags, application, notify, session);
}

static word login(word session, word user, unsigned char *pin, word length) {
  word code;
  if (fault("C_Login", &code) == FAIL) return code;
  return REAL(18, word, word, unsigned char *, word)(session, user, pin, length);
}

static word find(word session, word *objects, word most, word *count) {
  word code;
  switch (fault("C_FindObjects", &code)) {
    case FAIL: return code;
    case LIE: *count = 0; return 0;
  }
  return REAL(27, word, word *, word, word *)(session, objects, most, count);
}

static word sign(word session, unsigned char *data, word length, unsigned char *signature, word *size) {
  word code;
  int what = fault("C_Sign", &code);
  if (what == FAIL) return code;
  word done = REAL(43, word, unsigned char *, word, unsigned char *, word *)(session, data, length, signature, size);
  if (what == LIE && done == 0 && signature) signature[*size / 2] ^= 1;
  return done;
}

static word generate(word session, void *mechanism, void *public, word p, void *private, word q, word *x, word *y) {
  word code;
  if (fault("C_GenerateKeyPair", &code) == FAIL) return code;
  return REAL(59, word, void *, void *, word, void *, word, word *, word *)(session, mechanism, public, p, private, q, x, y);
}

word C_GetFunctionList(functions **list) {
  if (!real) {
    void *module = dlopen(getenv("CHANCERY_FAULTS_MODULE"), RTLD_NOW | RTLD_LOCAL);
    word (*get)(functions **) = module ? (word(*)(functions **))dlsym(module, "C_GetFunctionList") : NULL;
    if (!get || get(&real) != 0) return 5;
    ours = *real;
    ours.function[0] = initialize;
    ours.function[3] = C_GetFunctionList;
    ours.function[12] = open_session;
    ours.function[18] = login;
    ours.function[27] = find;
    ours.function[43] = sign;
    ours.function[59] = generate;
  }
  *list = &ours;
  return 0;
}

__attribute__((destructor)) static void destructed(void) {
  char file[512];
  int fd = real ? open(path(file, "", "destructed"), O_WRONLY | O_CREAT, 0600) : -1;
  if (fd >= 0) close(fd);
}
