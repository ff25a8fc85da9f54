/* table.c - the tables: commands, options, what they are good for. */
#include "cli/options.h"

#include "base/mem.h"

const struct rf_cli_command rf_cli_commands[] = {
    {"run", "[MODEL [PROMPT]]", "talk to a model, or answer one prompt",
     "Without PROMPT, on a terminal, it opens a conversation: lines can be edited and recalled, Ctrl-C stops an answer, /? lists the "
     "commands. With PROMPT, or with text through a pipe, it prints one answer and ends; with both, the text stands before the prompt. "
     "Output to a pipe is the answer alone. Without MODEL it runs the small model that ships. With --server another program computes (ours, "
     "llama-server, Ollama, vLLM, a service) and MODEL is a name there, the first if none is given.",
     "rocmforge run\nrocmforge run --server http://127.0.0.1:8080\nrocmforge run qwen3:0.6b \"Name three colours.\"\ncat notes.txt | rocmforge run mymodel \"Summarise this.\"",
     RF_CMD_RUN, 0, 2, "MP", rf_cli_run},
    {"serve", "[MODEL]", "serve models over HTTP (OpenAI API) with a chat page",
     "Prints one line with the address when ready; a browser finds a page to chat there. With MODEL it serves that one. Without, it "
     "serves all that `list` shows: a request loads the model that it names, one at a time. Ctrl-C drains and stops.",
     "rocmforge serve\nrocmforge serve mymodel --port 8000 --api-key secret",
     RF_CMD_SERVE, 0, 1, "M", rf_cli_serve},
    {"bench", "MODEL | --kernels", "measure prompt and generation speed, or single kernels",
     "Tokens are random, so any model file will do. --kernels measures the device's products, attention and choice of tokens one by one, without a model: bytes of weights, of "
     "keys and values, or of logits a second, and their share of memory's speed, which a sum of large arrays shows first.",
     "rocmforge bench mymodel --pp 512 --tg 128 --batch 1,8\nrocmforge bench --kernels --batch 1,8,64", RF_CMD_BENCH, 0, 1, "M", rf_cli_bench},
    {"perplexity", "MODEL FILE", "perplexity of a text under a model",
     "The text is cut into independent chunks of --ctx tokens (512); every token but a chunk's first is scored.",
     "rocmforge perplexity mymodel book.txt", RF_CMD_PPL, 2, 2, "MF", rf_cli_perplexity},
    {"list", "", "models on this disk",
     "Looks into folders that you name, ./models, our own folder, Hugging Face's cache, Ollama's store, LM Studio, llama.cpp's cache "
     "and ~/models. Every name works in run, serve and bench.",
     "rocmforge list\nrocmforge list --json", RF_CMD_LIST, 0, 0, "", rf_cli_list},
    {"show", "MODEL", "what is in a model file", "Header facts; -v lists the tensors too.", "rocmforge show mymodel -v",
     RF_CMD_SHOW, 1, 1, "M", rf_cli_show},
    {"ps", "", "what a running server holds", "Asks the server at --host and --port for its models, requests and KV cache.",
     "rocmforge ps\nrocmforge ps --port 8000 --json", RF_CMD_PS, 0, 0, "", rf_cli_ps},
    {"rm", "MODEL", "delete a model from our own store",
     "Only what lies in our own folder is deleted ($XDG_DATA_HOME/rocmforge/models); models of other programs are theirs. Asks first "
     "on a terminal.", "rocmforge rm oldmodel", RF_CMD_RM, 1, 1, "M", rf_cli_rm},
    {"doctor", "", "what this machine can do, and what is in the way",
     "CPU and instructions, memory and its measured speed, GPUs found or why not, limits.", "rocmforge doctor\nrocmforge doctor --json",
     RF_CMD_DOCTOR, 0, 0, "", rf_cli_doctor},
    {"config", "[COMMAND]", "settings in force, and where each comes from",
     "Flags win over ROCMFORGE_* variables, those over rocmforge.toml. The file is --config, $ROCMFORGE_CONFIG, ./rocmforge.toml, "
     "~/.config/rocmforge/rocmforge.toml or /etc/rocmforge/rocmforge.toml, whichever is first.",
     "rocmforge config\nrocmforge config serve --json", RF_CMD_CONFIG, 0, 1, "C", rf_cli_config},
    {"tokenize", "MODEL [TEXT]", "text to token ids", "Reads standard input where no TEXT is given.",
     "rocmforge tokenize mymodel \"hello world\"", RF_CMD_TOK, 1, 2, "MP", rf_cli_tokenize},
    {"template", "MODEL|FILE.jinja", "render a chat template",
     "--messages names a JSON file: an object with \"messages\" and any other variable of the template.",
     "rocmforge template mymodel --messages chat.json", RF_CMD_TMPL, 1, 1, "M", rf_cli_template},
    {"completion", "bash|zsh|fish", "print a script that completes command lines",
     "`make install` and the Debian package put these where the shells look.",
     "rocmforge completion bash > ~/.local/share/bash-completion/completions/rocmforge\nrocmforge completion fish > "
     "~/.config/fish/completions/rocmforge.fish", RF_CMD_COMPLETION, 1, 1, "S", rf_cli_completion},
    {"man", "[COMMAND]", "print a manual page", "In the markup that man reads.", "rocmforge man run | man -l -", RF_CMD_MAN, 0, 1, "C",
     rf_cli_man},
    {"version", "", "print the version", "", "rocmforge version", RF_CMD_VERSION, 0, 0, "", rf_cli_version},
};
const size_t rf_cli_n_commands = RF_COUNT(rf_cli_commands);

#define AT(f) offsetof(struct rf_cli, f)
#define NO RF_OPTION_NO_HAS
#define FLAG(f) RF_OPTION_FLAG, AT(f), NO, 0, 0
#define TEXT(f) RF_OPTION_TEXT, AT(f), NO, 0, 0
#define LIST(f) RF_OPTION_LIST, AT(f), NO, 0, 0
#define INT(f, min, max) RF_OPTION_INT, AT(f), NO, min, max
#define INT_HAS(f, min, max) RF_OPTION_INT, AT(f), AT(has_##f), min, max
#define REAL(f, min, max) RF_OPTION_REAL, AT(f), NO, min, max
#define REAL_HAS(f, min, max) RF_OPTION_REAL, AT(f), AT(has_##f), min, max
enum {
    RUN = RF_CMD_RUN, SERVE = RF_CMD_SERVE, PS = RF_CMD_PS, PPL = RF_CMD_PPL, SHOW = RF_CMD_SHOW, TOK = RF_CMD_TOK, TMPL = RF_CMD_TMPL,
    BENCH = RF_CMD_BENCH, LISTING = RF_CMD_LIST, WEIGHTS = RF_CMD_WEIGHTS, RM = RF_CMD_RM, DOCTOR = RF_CMD_DOCTOR, CONFIG = RF_CMD_CONFIG,
    LINE = RF_OPTION_LINE, SECRET = RF_OPTION_SECRET, CHAT = RF_OPTION_CHAT, AFILE = RF_OPTION_FILE, DIRECTORY = RF_OPTION_DIR, FAR = RF_OPTION_REMOTE,
};

const struct rf_option rf_cli_options[] = {
    {"help", NULL, 'h', FLAG(help), RF_CMD_ALL, LINE | FAR, NULL, "print this"},
    {"config", "FILE", 0, TEXT(config), RF_CMD_ALL & ~(unsigned)(RF_CMD_VERSION | RF_CMD_MAN | RF_CMD_COMPLETION), LINE | AFILE | FAR, NULL,
     "read this file instead of the usual rocmforge.toml"},
    {"model", "NAME", 'm', TEXT(model), RUN | SERVE, FAR, NULL, "the model where none is named"},
    {"server", "URL", 0, TEXT(server), RUN, FAR, NULL, "ask an OpenAI-compatible server instead of loading a model"},
    {"system", "TEXT", 0, TEXT(system), RUN, CHAT | FAR, NULL, "system message"},
    {"raw", NULL, 0, FLAG(raw), RUN, LINE | FAR, NULL, "no chat template: the prompt as it is"},
    {"no-history", NULL, 0, FLAG(no_history), RUN, FAR, NULL, "keep no file of what was typed"},
    {"max-tokens", "N", 'n', INT_HAS(max_tokens, 0, 1 << 30), RUN, CHAT | FAR, NULL, "tokens to generate (default: to the end)"},
    {"min-tokens", "N", 0, INT_HAS(min_tokens, 0, 1 << 30), RUN, CHAT | FAR, NULL, "no end before this many tokens"},
    {"temperature", "X", 't', REAL_HAS(temperature, 0, 100), RUN, CHAT | FAR, NULL, "0 is greedy (default: the model's, else 1)"},
    {"top-k", "N", 0, INT_HAS(top_k, 0, 1 << 30), RUN, CHAT | FAR, NULL, "keep the N likeliest tokens, 0 = all"},
    {"top-p", "X", 0, REAL_HAS(top_p, 0, 1), RUN, CHAT | FAR, NULL, "keep the likeliest tokens that make up X"},
    {"min-p", "X", 0, REAL_HAS(min_p, 0, 1), RUN, CHAT | FAR, NULL, "drop tokens under X times the likeliest"},
    {"typical-p", "X", 0, REAL_HAS(typical_p, 0, 1), RUN, CHAT | FAR, NULL, "locally typical sampling"},
    {"repetition-penalty", "X", 0, REAL_HAS(repetition_penalty, 0.01, 100), RUN, CHAT | FAR, NULL, "divide seen tokens' logits by X"},
    {"presence-penalty", "X", 0, REAL_HAS(presence_penalty, -2, 2), RUN, CHAT | FAR, NULL, "subtract X from generated tokens' logits"},
    {"frequency-penalty", "X", 0, REAL_HAS(frequency_penalty, -2, 2), RUN, CHAT | FAR, NULL, "the same, times how often"},
    {"seed", "N", 's', INT_HAS(seed, -9.2e18, 9.2e18), RUN | BENCH, CHAT | FAR, NULL, "same seed, same text"},
    {"stop", "TEXT", 0, LIST(stop), RUN, CHAT | FAR, NULL, "end before this text (repeatable)"},
    {"logit-bias", "ID=X", 0, LIST(logit_bias), RUN, FAR, NULL, "add X to a token's logit (repeatable)"},
    {"ignore-eos", NULL, 0, FLAG(ignore_eos), RUN, CHAT | FAR, NULL, "go on behind the end-of-text token"},
    {"host", "ADDR", 0, TEXT(host), SERVE | PS, 0, NULL, "address to listen on, or to ask (default 127.0.0.1)"},
    {"port", "N", 'p', INT(port, 0, 65535), SERVE | PS, 0, NULL, "port (default 8080; serve: 0 = a free one)"},
    {"model-name", "NAME", 0, TEXT(model_name), SERVE, 0, NULL, "name in the API (default: from the file)"},
    {"api-key", "KEY", 0, LIST(api_key), SERVE | PS | RUN, SECRET | FAR, NULL, "require this key, or send it (serve: repeatable)"},
    {"alias", "NAME", 0, LIST(alias), SERVE, 0, NULL, "a further name that requests may use (repeatable)"},
    {"isolate-keys", NULL, 0, FLAG(isolate_keys), SERVE, 0, NULL, "share the prefix cache only within one API key"},
    {"open-metrics", NULL, 0, FLAG(open_metrics), SERVE, 0, NULL, "/metrics needs no key"},
    {"neutral-sampling", NULL, 0, FLAG(neutral_sampling), SERVE, 0, NULL, "ignore the model's own sampling advice"},
    {"allowed-host", "NAME", 0, LIST(allowed_host), SERVE, 0, NULL, "a further Host accepted on loopback (repeatable)"},
    {"cors-origin", "ORIGIN", 0, LIST(cors), SERVE, 0, NULL, "let pages from here call the API (repeatable)"},
    {"max-connections", "N", 0, INT(max_connections, 1, 1000000), SERVE, 0, NULL, "open connections (default 16384)"},
    {"max-body", "MB", 0, INT(max_body_mb, 1, 4096), SERVE, 0, NULL, "largest request (default 32)"},
    {"drain-timeout", "SECONDS", 0, REAL(drain_timeout, 0, 1e9), SERVE, 0, NULL, "finish requests for this long when stopped (default 30)"},
    {"log-level", "LEVEL", 0, TEXT(log_level), SERVE, 0, "error warn info debug", "how much to log (default info)"},
    {"log-json", NULL, 0, FLAG(log_json), SERVE, 0, NULL, "log as JSON lines"},
    {"pp", "N", 0, INT(pp, 0, 1 << 20), BENCH, 0, NULL, "prompt tokens (default 512, 0 = skip)"},
    {"tg", "N", 0, INT(tg, 0, 1 << 20), BENCH, 0, NULL, "generated tokens (default 128, 0 = skip)"},
    {"batch", "N,N", 0, TEXT(batch), BENCH, 0, NULL, "sequences together (default 1, up to 1024); with --kernels rows (default 1,8,64,512, up to 16384)"},
    {"reps", "N", 0, INT(reps, 1, 1000), BENCH, 0, NULL, "repetitions (default 5)"},
    {"kernels", NULL, 0, FLAG(kernels), BENCH, LINE, NULL, "measure single kernels, without a model"},
    {"shapes", "OUTxIN,..", 0, TEXT(shapes), BENCH, 0, NULL, "with --kernels: matrices (default 4096x4096,14336x4096,4096x14336)"},
    {"ids", NULL, 0, FLAG(ids), TOK, LINE, NULL, "print the ids alone, separated by spaces"},
    {"no-special", NULL, 0, FLAG(no_special), TOK, LINE, NULL, "add no special token, read their spelling as text"},
    {"messages", "FILE", 0, TEXT(messages), TMPL, LINE | AFILE, NULL, "JSON file with the template's variables"},
    {"chat-template", "FILE", 0, TEXT(chat_template), RUN | SERVE, AFILE, NULL, "use this Jinja file as chat template"},
    {"model-dir", "DIR", 0, LIST(model_dir), RF_CMD_MODELS, DIRECTORY, NULL, "a folder to look for models in (repeatable)"},
    {"all", NULL, 'a', FLAG(all), LISTING, LINE, NULL, "also what cannot be chatted with: embeddings, projectors, broken files"},
    {"names", NULL, 'q', FLAG(names), LISTING, LINE, NULL, "print the names alone"},
    {"yes", NULL, 'y', FLAG(yes), RM, LINE, NULL, "do not ask"},
    {"ctx", "N", 'c', INT(ctx, 1, 1 << 28), WEIGHTS, 0, NULL, "context length (default: the model's, cut to memory)"},
    {"threads", "N", 0, INT(threads, 1, 1024), WEIGHTS | DOCTOR, 0, NULL, "CPU threads (default: one per usable core)"},
    {"device", "NAME", 0, TEXT(device), WEIGHTS, 0, NULL, "auto, cpu, hip:0 or cuda:0 (default auto: AMD, then NVIDIA, then the CPU)"},
    {"attention", "NAME", 0, TEXT(attention), WEIGHTS, 0, "auto reference flash paged-split", "what a GPU attends with (default auto; serve says what was chosen)"},
    {"allow-cpu", NULL, 0, FLAG(allow_cpu), WEIGHTS, 0, NULL, "use the CPU where a GPU is there but cannot be used"},
    {"gpu-memory-fraction", "X", 0, REAL(gpu_memory_fraction, 0.01, 1), WEIGHTS, 0, NULL, "most of a GPU's memory that we take in all (default 0.9)"},
    {"isa", "NAME", 0, TEXT(isa), WEIGHTS, 0, "auto ref avx2 avx512 avx512bf16 amx neon", "cap on CPU instructions"},
    {"kv-type", "TYPE", 0, TEXT(kv_type), WEIGHTS, 0, "auto f16 bf16 f32", "type of the KV cache (default: f16, f32 for F32 models)"},
    {"kv-memory", "MB", 0, INT(kv_memory_mb, 1, 1 << 30), WEIGHTS, 0, NULL, "size of the KV cache"},
    {"kv-blocks", "N", 0, INT(kv_blocks, 1, 1 << 30), WEIGHTS, 0, NULL, "the same in blocks of 16 tokens"},
    {"precise", NULL, 0, FLAG(precise), WEIGHTS, 0, NULL, "keep 16 bits of every product's input; prompts take twice as long"},
    {"max-seqs", "N", 0, INT(max_seqs, 1, 65536), WEIGHTS, 0, NULL, "sequences running together (default 256, on a GPU fewer above 163,840 tokens of vocabulary)"},
    {"max-step-tokens", "N", 0, INT(max_step_tokens, 1, 1 << 20), WEIGHTS, 0, NULL, "token budget of one step (default 512, on a GPU 2048)"},
    {"step-timeout", "SECONDS", 0, REAL(step_timeout, 0, 1e6), WEIGHTS, 0, NULL, "a step that takes longer has hung (default 120 on a GPU; 0 = never)"},
    {"max-queue", "N", 0, INT(max_queue, 1, 1 << 24), SERVE, 0, NULL, "requests waiting (default 1024)"},
    {"max-queue-tokens", "N", 0, INT(max_queue_tokens, 1, 1e15), SERVE, 0, NULL, "prompt tokens waiting (default 4 M)"},
    {"no-prefix-cache", NULL, 0, FLAG(no_prefix_cache), RUN | SERVE, 0, NULL, "compute every prompt anew"},
    {"no-async-scheduling", NULL, 0, FLAG(no_async_scheduling), WEIGHTS, 0, NULL, "GPU: no step begins before the tokens of the one before are here"},
    {"json", NULL, 0, FLAG(json), SHOW | BENCH | TOK | PPL | LISTING | PS | DOCTOR | CONFIG, LINE, NULL, "print JSON"},
    {"verbose", NULL, 'v', FLAG(verbose), RUN | SHOW | PPL, LINE | FAR, NULL, "more: speed (run), tensors (show), chunks (perplexity)"},
};
const size_t rf_cli_n_options = RF_COUNT(rf_cli_options);
_Static_assert(RF_COUNT(rf_cli_options) <= RF_CLI_OPTIONS_MAX, "more options than places for their origins");
