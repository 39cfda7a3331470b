/* The table and the tests agree: no sentence without a test, no test without a sentence. */
#include "chan.h"

#include <ctype.h>

static char directory[600];

/* Where this file was compiled from; the sources may be gone from an installed machine. */
static void find_sources(void) {
    const char *slash = strrchr(__FILE__, '/');
    snprintf(directory, sizeof directory, "%.*s", slash ? (int)(slash - __FILE__) : 1, slash ? __FILE__ : ".");
    char path[700];
    snprintf(path, sizeof path, "%s/CONTRACT.md", directory);
    if (access(path, R_OK) != 0) SKIP("%s is not there", path);
}

static char *read_text(const char *path) {
    FILE *f = fopen(path, "r");
    CHECK(f != NULL);
    static const size_t room = 1 << 20;
    char *text = malloc(room);
    size_t n = fread(text, 1, room - 1, f);
    CHECK(n < room - 1);
    text[n] = 0;
    fclose(f);
    return text;
}

static char *contract(void) {
    char path[700];
    snprintf(path, sizeof path, "%s/CONTRACT.md", directory);
    return read_text(path);
}

/* The name of the test that starts here in "TEST(s001_...", or NULL. */
static const char *name_at(const char *text, char name[128]) {
    size_t n = 0;
    while (n < 127 && (isalnum((unsigned char)text[n]) || text[n] == '_')) n++;
    memcpy(name, text, n);
    name[n] = 0;
    return n > 5 && name[0] == 's' && isdigit((unsigned char)name[1]) ? name : NULL;
}

static int has_word(const char *text, const char *word) {
    char quoted[160];
    snprintf(quoted, sizeof quoted, "`%s`", word);
    return strstr(text, quoted) != NULL;
}

TEST(s151_every_sentence_has_a_test) {
    find_sources();
    char *table = contract();
    int rows = 0, bare = 0;
    for (char *line = strtok(table, "\n"); line; line = strtok(NULL, "\n")) {
        if (strncmp(line, "| S", 3) != 0) continue;
        rows++;
        CHECK_EQ(strtol(line + 3, NULL, 10), rows);
        const char *shown = strstr(line + 3, " | ");
        shown = shown ? strstr(shown + 3, " | ") : NULL;
        CHECK(shown != NULL);
        if (strstr(shown, "**nothing**") || strlen(shown) < 10) {
            fprintf(stderr, "    no test: %s\n", line);
            bare++;
        }
    }
    CHECK(rows >= 150);
    CHECK_EQ(bare, 0);
}

/* The Rust tests of behaviour, which the table may name where no C test shows the same. */
static size_t rust_sources(char *sources, size_t room) {
    char parent[700];
    size_t used = 0;
    snprintf(parent, sizeof parent, "%s/..", directory);
    DIR *d = opendir(parent);
    CHECK(d != NULL);
    for (struct dirent *e; (e = readdir(d));) {
        size_t len = strlen(e->d_name);
        if (strncmp(e->d_name, "behaviour", 9) != 0 || strcmp(e->d_name + len - 3, ".rs") != 0) continue;
        char path[1000];
        snprintf(path, sizeof path, "%s/%s", parent, e->d_name);
        char *text = read_text(path);
        used += (size_t)snprintf(sources + used, room - used, "%s", text);
        free(text);
    }
    closedir(d);
    return used;
}

TEST(s151_every_test_is_in_the_table) {
    find_sources();
    char *table = contract(), *sources = calloc(1, 4 << 20);
    int missing = 0;
    size_t used = rust_sources(sources, 4 << 20);
    DIR *d = opendir(directory);
    CHECK(d != NULL);
    for (struct dirent *e; (e = readdir(d));) {
        size_t len = strlen(e->d_name);
        if (strncmp(e->d_name, "test_", 5) != 0 || len < 2 || strcmp(e->d_name + len - 2, ".c") != 0) continue;
        char path[1000], name[128], sentence[16];
        snprintf(path, sizeof path, "%s/%s", directory, e->d_name);
        char *text = read_text(path);
        for (char *at = text; (at = strstr(at, "\nTEST"));) {
            at = strchr(at, '(') + 1;
            if (!name_at(at, name)) continue;
            snprintf(sentence, sizeof sentence, "| S%ld |", strtol(name + 1, NULL, 10));
            if (!has_word(table, name) || !strstr(table, sentence)) fprintf(stderr, "    not in the table: %s\n", name), missing++;
        }
        used += (size_t)snprintf(sources + used, (4 << 20) - used, "%s", text);
        free(text);
    }
    closedir(d);
    for (char *at = table; (at = strstr(at, "`s"));) { /* and the other way round */
        char name[128], test[140], rust[140];
        at++;
        if (!name_at(at, name)) continue;
        snprintf(test, sizeof test, "(%s", name);
        snprintf(rust, sizeof rust, "fn %s(", name);
        if (!strstr(sources, test) && !strstr(sources, rust)) fprintf(stderr, "    in the table, but no test: %s\n", name), missing++;
    }
    CHECK_EQ(missing, 0);
}

/* Ignoring what a call returns is an error under -Werror; dc_sent_position has no code to ignore. */
TEST(s009_results_must_be_used) {
    static const char *calls[] = {
        "dc_open(0,0,0)", "dc_destroy(0)", "dc_channel_stats(0,0)", "dc_channel_sync(0,0)", "dc_group_stats(0,0,0)", "dc_group_next(0,0,0,0)",
        "dc_group_delete(0,0)", "dc_verify(0,0)", "dc_maintain(0,0)", "dc_producer_open(0,0)", "dc_producer_clone(0,0)", "dc_send(0,0,0,0)",
        "dc_sendv(0,0,0,0)", "dc_send_batch(0,0,0,0,0)", "dc_reserve(0,0,0,0)", "dc_commit(0,0)", "dc_abort(0)", "dc_sync(0,0)", "dc_producer_fd(0)",
        "dc_producer_interrupt(0)", "dc_subscribe(0,0,0,0)", "dc_consumer_clone(0,0)", "dc_recv(0,0,0)", "dc_recv_batch(0,0,0,0,0)", "dc_next_page(0)",
        "dc_ack(0,1)", "dc_nack(0)", "dc_seek(0,1)", "dc_consumer_stats(0,0)", "dc_consumer_fd(0)", "dc_interrupt(0)",
    };
    find_sources();
    char source[700], command[3000];
    snprintf(source, sizeof source, "%s/use.c", test_dir);
    snprintf(command, sizeof command, "cc -std=c11 -D_GNU_SOURCE -Wall -I'%s/../../include' -c -o /dev/null '%s' 2>'%s/messages'", directory, source, test_dir);
    if (system("cc --version >/dev/null 2>&1") != 0) SKIP("no C compiler");
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        FILE *f = fopen(source, "w");
        CHECK(f != NULL);
        fprintf(f, "#include <disk_chan.h>\nint main(void) {\n    %s;\n    return 0;\n}\n", calls[i]);
        fclose(f);
        CHECK_EQ(system(command), 0); /* it compiles ... */
        char *messages, path[700];
        snprintf(path, sizeof path, "%s/messages", test_dir);
        messages = read_text(path);
        if (!strstr(messages, "unused-result")) test_fail(__FILE__, __LINE__, "%s may be ignored: %s", calls[i], messages); /* ... with a warning */
        free(messages);
    }
}
