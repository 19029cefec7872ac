/* embed.c: kdc inside another program: compiles an experiment, runs it, prints its report.   usage: embed FILE.kd
 *
 * It needs include/kd.h and the CMake target kd_api; tests/api/CMakeLists.txt builds it so. */
#include "include/kd.h"
#include <stdio.h>

static void on_message(void *ctx, const kd_message *m) {
  (void)ctx;
  fputs(m->text, stderr);
}

static void on_event(void *ctx, const kd_event *e) {
  (void)ctx;
  if (e->kind == KD_EVENT_EPOCH) printf("%s: epoch %lld, loss %.4f\n", e->stage, (long long)e->epoch, e->nvalue ? e->value[0].value : 0);
}

static int run(kd_session *session, const char *path) {
  kd_program *program;
  kd_row row;
  kd_parameter w;
  if (kd_compile_file(session, path, NULL, &program) != KD_OK) return 1;
  kd_run_options options = { .seed = 1, .event = on_event };
  kd_status status = kd_run(program, &options);
  if (status == KD_OK) {
    for (size_t i = 0; kd_report(program, i, &row); i++) printf("%s on %s: %.4f\n", row.label, row.on, row.value);
    if (kd_parameter_at(program, 0, &w)) printf("the first parameter is %s, %zu bytes of %s\n", w.name, w.bytes, w.type);
  } else {
    fprintf(stderr, "%s\n", kd_status_text(status));
  }
  kd_program_free(program);
  return status != KD_OK;
}

int main(int argc, char **argv) {
  kd_config config = { .message = on_message };
  kd_session *session;
  if (argc != 2 || kd_session_new(&config, &session) != KD_OK) {
    fputs("usage: embed FILE.kd\n", stderr);
    return 2;
  }
  int code = run(session, argv[1]);
  kd_session_free(session);
  return code;
}
