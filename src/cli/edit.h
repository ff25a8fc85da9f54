/* edit.h - one line of input at a time from a terminal, with editing and history, by libedit.
 *
 * Enter ends the line, Alt-Enter breaks it, a paste with several lines stays one input, Tab completes /commands, Ctrl-C gives the
 * line up, Ctrl-D on an empty line ends. Thread: one.
 */
#ifndef RF_CLI_EDIT_H
#define RF_CLI_EDIT_H

#include <stdbool.h>

struct rf_edit;
enum rf_edit_end { RF_EDIT_LINE, RF_EDIT_CANCEL, RF_EDIT_EOF };

/* history: file to load and to keep, NULL for none. words: what Tab completes, NULL ends. NULL if the terminal cannot. */
struct rf_edit *rf_edit_open(const char *history, bool colour, const char *const *words);
void rf_edit_close(struct rf_edit *e); /* NULL is fine */
/* *line is borrowed until the next call, without its line end; NULL unless RF_EDIT_LINE. */
enum rf_edit_end rf_edit_read(struct rf_edit *e, const char *prompt, const char **line);
void rf_edit_remember(struct rf_edit *e, const char *text);

#endif
