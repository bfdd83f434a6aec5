/*
 * A server in small, on libknoll.so as its malloc: workers make answers, the main thread sends and frees them. All of it
 * is malloc and free; what is Knoll's own here is the look at the heap at the end.
 *
 *   cc -pthread server.c $(pkg-config --cflags --libs knoll)
 */
#define _POSIX_C_SOURCE 200809L
#include <knoll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS = 4, REQUESTS = 400000 };

/* An answer, in the queue to who sends it. */
struct answer {
  struct answer *next;
  size_t length;
  char text[];
};

static struct answer *queue;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void fail(const char *what) {
  perror(what);
  exit(1);
}

/* Answers every fourth request, with 16 to 1015 bytes. */
static void *work(void *first) {
  for (size_t number = *(size_t *)first; number < REQUESTS; number += WORKERS) {
    size_t length = 16 + number * 2654435761u % 1000;
    struct answer *answer = malloc(sizeof *answer + length);
    if (answer == NULL) fail("malloc");
    answer->length = length;
    memset(answer->text, 'a', length);
    pthread_mutex_lock(&lock);
    answer->next = queue;
    queue = answer;
    pthread_mutex_unlock(&lock);
  }
  return NULL;
}

/* Kilobytes of this process that are resident. */
static size_t resident(void) {
  size_t kilobytes = 0;
  char line[128];
  FILE *status = fopen("/proc/self/status", "r");
  if (status == NULL) fail("/proc/self/status");
  while (fgets(line, sizeof line, status) != NULL) {
    if (sscanf(line, "VmRSS: %zu kB", &kilobytes) == 1) break;
  }
  fclose(status);
  return kilobytes;
}

int main(void) {
  pthread_t workers[WORKERS];
  size_t firsts[WORKERS], sent = 0, answers = 0, before = resident();
  for (size_t i = 0; i < WORKERS; i++) {
    firsts[i] = i;
    if (pthread_create(&workers[i], NULL, work, &firsts[i]) != 0) fail("pthread_create");
  }
  for (size_t i = 0; i < WORKERS; i++) pthread_join(workers[i], NULL);
  size_t most = resident() - before;

  while (queue != NULL) { /* freed by another thread than made it, which is gone */
    struct answer *answer = queue;
    queue = answer->next;
    sent += answer->length;
    answers++;
    free(answer);
  }
  size_t kept = resident() - before;

  KnProcessStats stats;
  if (kn_process_stats(&stats) != KN_OK) return 1;
  printf("%zu answers, %zu bytes\n", answers, sent);
  printf("%s\n", kept <= most / 20 ? "their memory went back to the system" : "their memory is still here");
  printf("blocks of a process at rest: %s, check: %s\n", stats.blocks < 100 ? "few" : "many",
         kn_status_str(kn_process_check()));
  fprintf(stderr, "resident: %zu KB more with the answers, %zu KB more without\n", most, kept);
  return 0;
}
