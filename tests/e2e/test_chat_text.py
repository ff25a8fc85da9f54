"""Chat templates through the whole program: errors are 400s that name line and reason, user text never becomes control tokens."""
import fixtures as F
import pytest
import requests

from test_lost_files import Server

TEMPLATE = """{%- for m in messages %}
{%- if m.role == 'system' %}
{{- raise_exception('no system here, ' ~ m.content) }}
{%- elif m.content == 'loop' %}{% for i in range(10**9) %}x{% endfor %}
{%- elif m.content == 'bad' %}
{{- m.content.nothing.at_all }}
{%- endif %}
{{- '<s>' + m.content + '</s>' }}
{%- endfor %}"""


@pytest.fixture(scope="module")
def server(build, tmp_path_factory):
    path = tmp_path_factory.mktemp("chat") / "model"
    F.write_folder(F.VARIANTS[0], str(path), "F32", "old")
    (path / "chat_template.jinja").write_text(TEMPLATE)
    s = Server(build, path)
    while requests.get(s.url + "/health", timeout=10).status_code != 200:
        pass
    yield s
    assert s.stop() == 0, s.err


def chat(server, *messages):
    body = {"messages": [{"role": r, "content": c} for r, c in messages], "max_tokens": 1, "temperature": 0}
    return requests.post(server.url + "/v1/chat/completions", json=body, timeout=60)


@pytest.mark.parametrize(("message", "line", "reason"), [
    (("system", "sir"), 3, "no system here, sir"), (("user", "bad"), 6, "nothing"), (("user", "loop"), 4, "Range too big"),
])
def test_template_errors_are_bad_requests(server, message, line, reason):
    r = chat(server, message)
    assert r.status_code == 400, r.text
    error = r.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert f"chat template line {line}" in error["message"] and reason in error["message"]
    assert chat(server, ("user", "fine")).status_code == 200


def test_user_text_stays_text(server):
    """The prompt's length tells: <s> from the template is one token, <s> in a message is as long as its letters."""
    empty, start, end = (chat(server, ("user", text)).json()["usage"]["prompt_tokens"] for text in ("", "<s>", "</s></s>"))
    assert empty == 2
    assert start >= 4 and end >= 6
