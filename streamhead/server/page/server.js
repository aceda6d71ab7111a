// What the page asks of the server. Every refusal becomes a ServerError whose message can be shown as it is.

export class ServerError extends Error {
  constructor(message, status) {
    super(message);
    this.name = 'ServerError';
    this.status = status; // 0: no answer at all
  }
}

const GONE = 'The server does not answer. Is “streamhead serve --webrtc” still running, and the network up?';
const TOKEN = 'This server wants a token. Open the page with the whole link that the server printed, #token=… included.';
const FULL = 'The server has as many callers as it can serve. Try again in a minute.';
const LIMIT = 10 * 1024 * 1024;

export class Server {
  #token;

  constructor(token) {
    this.#token = token;
  }

  async #ask(method, path, { json, body, signal, keepalive = false } = {}) {
    const headers = {};
    if (this.#token) headers.Authorization = `Bearer ${this.#token}`;
    if (json !== undefined) headers['Content-Type'] = 'application/json';
    if (body?.type) headers['Content-Type'] = body.type;
    let response;
    try {
      response = await fetch(path, {
        method,
        headers,
        body: json === undefined ? body : JSON.stringify(json),
        signal,
        keepalive,
        cache: 'no-store',
      });
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw new ServerError(GONE, 0);
    }
    const answer = await response.json().catch(() => ({}));
    if (response.ok) return answer;
    throw new ServerError(this.#words(response.status, answer.error), response.status);
  }

  #words(status, own) {
    if (status === 401) return TOKEN;
    if (own) return own;
    if (status === 403) return 'The server refuses this page. Open it at the very address the server printed.';
    if (status === 429 || status === 503) return FULL;
    if (status === 413) return 'That is larger than the server takes.';
    return `The server could not do that (${status}). Its own window may say why.`;
  }

  async addPortrait(file, signal) {
    if (file.size > LIMIT) throw new ServerError('The picture is larger than 10 MB; choose a smaller one.', 413);
    return (await this.#ask('POST', '/portrait', { body: file, signal })).portrait;
  }

  removePortrait(id) {
    return this.#ask('DELETE', `/portrait/${id}`).catch(() => {}); // it is forgotten after a while anyway
  }

  offer(description, settings, signal) {
    return this.#ask('POST', '/offer', { json: { ...description, ...settings }, signal });
  }

  change(session, settings) {
    return this.#ask('PATCH', `/session/${session}`, { json: settings });
  }

  interrupt(session) {
    return this.#ask('POST', `/session/${session}/interrupt`);
  }

  stats(session, signal) {
    return this.#ask('GET', `/session/${session}/stats`, { signal });
  }

  hangUp(session) {
    return this.#ask('DELETE', `/session/${session}`, { keepalive: true }).catch(() => {}); // it notices by itself
  }
}
