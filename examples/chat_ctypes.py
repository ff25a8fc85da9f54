"""Token ids in, token ids out through librocmforge.so, with nothing but ctypes.   python3 chat_ctypes.py MODEL "text"

The structs mirror include/rocmforge.h field by field.
"""
import ctypes as c
import os
import sys


class Error(c.Structure):
    _fields_ = [("status", c.c_int), ("param", c.c_char * 64), ("message", c.c_char * 512)]


class Sampling(c.Structure):
    _fields_ = [("temperature", c.c_float), ("top_k", c.c_int32), ("top_p", c.c_float), ("min_p", c.c_float), ("typical_p", c.c_float),
                ("repetition_penalty", c.c_float), ("presence_penalty", c.c_float), ("frequency_penalty", c.c_float),
                ("has_seed", c.c_bool), ("seed", c.c_uint64), ("logit_bias", c.c_void_p), ("n_logit_bias", c.c_size_t),
                ("max_tokens", c.c_int32), ("min_tokens", c.c_int32), ("ignore_eos", c.c_bool), ("stop", c.c_void_p), ("n_stop", c.c_size_t),
                ("include_stop", c.c_bool), ("stop_tokens", c.c_void_p), ("n_stop_tokens", c.c_size_t), ("logprobs", c.c_int32),
                ("prompt_logprobs", c.c_int32)]


class Request(c.Structure):
    _fields_ = [("tokens", c.POINTER(c.c_int32)), ("n_tokens", c.c_size_t), ("text", c.c_char_p), ("text_len", c.c_size_t),
                ("sampling", Sampling), ("priority", c.c_int32), ("deadline_s", c.c_double), ("cache_salt", c.c_uint64),
                ("on_event", c.c_void_p), ("ctx", c.c_void_p)]


class Usage(c.Structure):
    _fields_ = [("prompt_tokens", c.c_uint32), ("cached_tokens", c.c_uint32), ("completion_tokens", c.c_uint32),
                ("queue_s", c.c_double), ("prefill_s", c.c_double), ("decode_s", c.c_double)]


class Event(c.Structure):
    _fields_ = [("kind", c.c_int), ("id", c.c_uint64), ("tokens", c.POINTER(c.c_int32)), ("n_tokens", c.c_size_t),
                ("text", c.POINTER(c.c_char)), ("text_len", c.c_size_t), ("logprobs", c.c_void_p), ("n_logprobs", c.c_size_t),
                ("finish", c.c_int), ("stop_token", c.c_int32), ("usage", Usage), ("error", c.POINTER(Error))]


EVENT_ERROR = 3
lib = c.CDLL(os.environ.get("ROCMFORGE_LIB", "librocmforge.so"))
lib.rf_engine_poll.argtypes = [c.c_void_p, c.c_uint64, c.c_int, c.POINTER(c.POINTER(Event))]
lib.rf_event_free.argtypes = [c.POINTER(Event)]
lib.rf_model_close.argtypes = lib.rf_engine_free.argtypes = [c.c_void_p]
lib.rf_model_sampling_default.argtypes = [c.c_void_p, c.POINTER(Sampling)]

err, model, engine = Error(), c.c_void_p(), c.c_void_p()


def check(status):
    if status:
        sys.exit(err.message.decode())


check(lib.rf_model_open(c.byref(model), sys.argv[1].encode(), None, c.byref(err)))
check(lib.rf_engine_create(c.byref(engine), model, None, c.byref(err)))
text = sys.argv[2].encode()
req, rid = Request(text=text, text_len=len(text)), c.c_uint64()
lib.rf_model_sampling_default(model, c.byref(req.sampling))
req.sampling.temperature, req.sampling.max_tokens = 0, 32
check(lib.rf_engine_submit(engine, c.byref(req), c.c_size_t(1), c.byref(rid), c.byref(err)))

event = c.POINTER(Event)()
while lib.rf_engine_poll(engine, rid, -1, c.byref(event)) == 0:
    e = event.contents
    if e.kind == EVENT_ERROR:
        sys.exit(e.error.contents.message.decode())
    sys.stdout.write(c.string_at(e.text, e.text_len).decode())
    lib.rf_event_free(event)
print()
lib.rf_engine_free(engine)
lib.rf_model_close(model)
