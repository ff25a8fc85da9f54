"""The official openai client drives every route it knows."""
import openai
import pytest


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)


def ask(client, model, text, **kw):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], max_tokens=20, **kw)


def test_chat(client, server):
    r = ask(client, server.model, "Say hi.", temperature=0)
    c = r.choices[0]
    assert r.object == "chat.completion" and r.id.startswith("chatcmpl-") and r.model == server.model
    assert c.message.role == "assistant" and c.message.content and c.finish_reason in ("stop", "length")
    assert r.usage.prompt_tokens > 0 and r.usage.total_tokens == r.usage.prompt_tokens + r.usage.completion_tokens
    assert r.usage.prompt_tokens_details.cached_tokens >= 0
    assert r._request_id
    for key in ("logprobs", "finish_reason", "index", "message"):
        assert key in c.model_fields_set
    assert "refusal" in c.message.model_fields_set


def test_stream_equals_whole(client, server):
    whole = ask(client, server.model, "Count to five.", temperature=0).choices[0].message.content
    parts, finish, usage = [], [], None
    for chunk in ask(client, server.model, "Count to five.", temperature=0, stream=True, stream_options={"include_usage": True}):
        if not chunk.choices:
            usage = chunk.usage
            continue
        assert chunk.usage is None
        parts.append(chunk.choices[0].delta.content or "")
        if chunk.choices[0].finish_reason:
            finish.append(chunk.choices[0].finish_reason)
    assert "".join(parts) == whole and len(finish) == 1
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_stream_helper(client, server):
    """The accumulator throws if a role repeats or a finish_reason is missing. Greedy: by chance an answer may be its end alone."""
    with client.chat.completions.stream(model=server.model, messages=[{"role": "user", "content": "Hello"}], max_tokens=8, n=2,
                                        temperature=0) as s:
        for _ in s:
            pass
        final = s.current_completion_snapshot
    assert len(final.choices) == 2
    assert all(c.message.role == "assistant" and c.message.content and c.finish_reason for c in final.choices)


def test_chat_logprobs(client, server):
    r = ask(client, server.model, "Hello", logprobs=True, top_logprobs=5, temperature=0)  # no control token first: text has none of them
    content = r.choices[0].logprobs.content
    assert len(content) == r.usage.completion_tokens or r.choices[0].finish_reason == "stop"
    for t in content:
        assert t.logprob <= 0 and t.logprob >= -9999 and len(t.top_logprobs) == 5
        assert all(b.logprob >= -9999.0 for b in t.top_logprobs)
    assert b"".join(bytes(t.bytes) for t in content).decode("utf-8", "replace").startswith(r.choices[0].message.content[:1])


def test_completions(client, server):
    r = client.completions.create(model=server.model, prompt="Once upon", max_tokens=5, temperature=0)
    assert r.object == "text_completion" and r.choices[0].text and r.choices[0].finish_reason in ("stop", "length")
    assert r.usage.completion_tokens <= 5
    s = client.completions.create(model=server.model, prompt="Once upon", max_tokens=5, temperature=0, stream=True)
    assert "".join(c.choices[0].text for c in s) == r.choices[0].text


def test_completions_batch(client, server):
    r = client.completions.create(model=server.model, prompt=["one", "two", "three"], n=2, max_tokens=3)
    assert [c.index for c in r.choices] == list(range(6))


def test_models(client, server):
    models = client.models.list().data
    assert models[0].id == server.model and models[0].object == "model" and models[0].created > 0
    assert client.models.retrieve(server.model).id == server.model
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody/knows")


@pytest.mark.fake
def test_async_client_many(server):
    import asyncio

    async def go():
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as c:
            async def one(i):
                s = await c.chat.completions.create(model=server.model, stream=True, messages=[{"role": "user", "content": f"n{i} @delay=5"}])
                return "".join([x.choices[0].delta.content or "" async for x in s])
            return await asyncio.gather(*[one(i) for i in range(50)])

    assert [t.strip() for t in asyncio.run(go())] == [f"echo: n{i}" for i in range(50)]


def test_errors(client, server):
    with pytest.raises(openai.NotFoundError) as e:
        ask(client, "gpt-none", "x")
    assert e.value.code == "model_not_found" and e.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError) as e:
        ask(client, server.model, "x", temperature=3)
    assert e.value.param == "temperature" and e.value.request_id
    with pytest.raises(openai.BadRequestError) as e:
        client.completions.create(model=server.model, prompt="a " * 200000, max_tokens=1)
    assert e.value.code == "context_length_exceeded" and "maximum context length is" in e.value.message


@pytest.mark.fake
@pytest.mark.parametrize("name,status,code", [
    ("numeric", 500, "numeric_error"), ("internal", 500, "internal_error"), ("nomem", 503, "out_of_memory"),
    ("shutdown", 503, "shutting_down"), ("deadline", 408, "deadline_exceeded")])
def test_engine_errors(client, server, name, status, code):
    for stream in (False, True):  # before the first token a stream too is an HTTP status
        with pytest.raises(openai.APIStatusError) as e:
            ask(client, server.model, f"@error={name}", stream=stream)
        assert (e.value.status_code, e.value.code) == (status, code)
    s = ask(client, server.model, f"hello @error={name} @after=3", stream=True)
    got = []
    with pytest.raises(openai.APIError) as e:
        for chunk in s:
            got.append(chunk.choices[0].delta.content)
    assert "".join(filter(None, got)) == "ech" and e.value.code == code


@pytest.mark.fake
@pytest.mark.parametrize("name,status,code,retry", [
    ("full", 503, "queue_full", True), ("too_long", 400, "context_length_exceeded", False), ("shutdown", 503, "shutting_down", True)])
def test_submit_errors(client, server, name, status, code, retry):
    for stream in (False, True):
        with pytest.raises(openai.APIStatusError) as e:
            ask(client, server.model, f"@submit={name}", stream=stream)
        assert (e.value.status_code, e.value.code) == (status, code)
        assert ("retry-after" in e.value.response.headers) == retry
        assert (e.value.response.headers.get("x-should-retry") == "false") != retry
