/* api.js - requests to this server, and its errors in words. Addresses are relative, so that the page also works behind a
 * proxy's path.
 */
import { key } from './store.js';

export class ApiError extends Error {
    constructor(status, error = {}, retry = 0) {
        super(error.message || `The server answered ${status}`);
        this.status = status;     /* 0: no answer at all */
        this.code = error.code || '';
        this.param = error.param || '';
        this.retry = retry;       /* seconds the server asked to wait, 0: it did not */
    }
}

export async function request(path, { body, signal } = {}) {
    const headers = {};
    if (key.value) headers.Authorization = `Bearer ${key.value}`;
    if (body) headers['Content-Type'] = 'application/json';
    let answer;
    try {
        answer = await fetch(path, { method: body ? 'POST' : 'GET', headers, body: body && JSON.stringify(body), signal, cache: 'no-store' });
    } catch (e) {
        if (e.name === 'AbortError') throw e;
        throw new ApiError(0, { message: 'No answer from the server' });
    }
    if (answer.ok) return answer;
    let error = {};
    try {
        error = (await answer.json()).error || {};
    } catch { /* a proxy's page: the status has to do */ }
    throw new ApiError(answer.status, error, parseInt(answer.headers.get('Retry-After'), 10) || 0);
}

/* The events of a streamed answer as objects. An error event throws; so does an end without [DONE]. */
export async function* stream(body, signal) {
    const answer = await request('v1/chat/completions', { body, signal });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '';
    for (;;) {
        let part;
        try {
            part = await reader.read();
        } catch (e) {
            if (e.name === 'AbortError') throw e;
            part = { done: true };
        }
        if (part.done) throw new ApiError(0, { message: 'The connection broke before the answer was complete', code: 'cut_off' });
        const lines = (rest + part.value).split('\n');
        rest = lines.pop();
        for (const line of lines) {
            if (!line.startsWith('data:')) continue;
            const data = line.slice(5).trim();
            if (data === '[DONE]') return;
            const event = JSON.parse(data);
            if (event.error) throw new ApiError(500, event.error);
            yield event;
        }
    }
}

/* What went wrong, for people: {title, text, action}; action names what may help: retry, key, new, settings or none. */
export function explain(e) {
    const said = e.message;
    if (!(e instanceof ApiError)) return { title: 'Something in this page went wrong', text: said, action: 'retry' };
    if (e.code === 'cut_off') return { title: 'The answer was cut off', text: 'The connection to the server broke. What had arrived is kept.', action: 'retry' };
    if (e.status === 0) return { title: 'The server does not answer', text: 'It may have stopped, or the network between is down. Start it again, then try once more.', action: 'retry' };
    if (e.status === 401) return { title: 'This server wants a key', text: 'Ask whoever runs it for an API key and enter it in the settings.', action: 'key' };
    if (e.status === 403) return { title: 'The server refuses this address', text: said, action: 'none' };
    if (e.code === 'context_length_exceeded') return { title: 'This conversation is too long for the model', text: said, action: 'new' };
    if (e.code === 'model_not_found') return { title: 'That model is not served here', text: said, action: 'retry' };
    if (e.code === 'loading') return { title: 'The model is still loading', text: 'It answers as soon as it is ready.', action: 'retry' };
    if (e.code === 'device_error') return { title: 'A device of the server failed', text: `${said}. Start the server again, then try once more.`, action: 'retry' };
    if (e.code === 'deadline_exceeded') return { title: 'The answer took too long', text: said, action: 'retry' };
    if (e.code === 'shutting_down') return { title: 'The server is shutting down', text: 'It takes no new questions. Start it again, then try once more.', action: 'retry' };
    if (e.status === 429 || e.status === 503) return { title: 'The server is busy', text: said, action: 'retry' };
    if (e.status === 413) return { title: 'That is more than the server takes', text: said, action: 'none' };
    if (e.status >= 400 && e.status < 500) {
        const own = e.param && e.param !== 'messages' && e.param !== 'model';
        return { title: own ? 'The server does not take a setting' : 'The server does not take this request', text: said, action: own ? 'settings' : 'retry' };
    }
    return { title: 'The server failed on this one', text: said, action: 'retry' };
}

/* Worth asking again by itself: only what passes with time. */
export const passes = (e) => e instanceof ApiError && (e.status === 503 || e.status === 429) && e.code !== 'shutting_down' && e.code !== 'device_error';
