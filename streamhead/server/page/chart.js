// Delay over the last minute: the server's part, and on top of it the browser's. Drawn once a second.

const SECONDS = 60;
const STEPS = [100, 200, 300, 500, 1000, 2000, 5000];

export class DelayChart {
  #canvas;
  #rows = []; // {server, browser} in ms, one a second, null for a second without

  constructor(canvas) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
  }

  add(server, browser) {
    this.#rows.push(server === null ? null : { server, browser: browser ?? 0 });
    if (this.#rows.length > SECONDS + 1) this.#rows.shift();
    this.draw();
    this.#describe();
  }

  draw() {
    const canvas = this.#canvas;
    const ratio = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !height) return;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext('2d');
    pen.scale(ratio, ratio);
    const colour = (name) => getComputedStyle(canvas).getPropertyValue(name).trim();
    const known = this.#rows.filter(Boolean);
    const peak = Math.max(0, ...known.map(({ server, browser }) => server + browser));
    const top = STEPS.find((step) => step >= peak) ?? peak;
    const y = (value) => height - 1 - (Math.min(value, top) / top) * (height - 14);
    const x = (index) => width - ((this.#rows.length - 1 - index) * width) / SECONDS;

    pen.strokeStyle = colour('--line');
    pen.fillStyle = colour('--faint');
    pen.font = `11px ${getComputedStyle(canvas).fontFamily}`;
    pen.textBaseline = 'bottom';
    for (const value of [0, top / 2, top]) {
      pen.beginPath();
      pen.moveTo(0, Math.round(y(value)) + 0.5);
      pen.lineTo(width, Math.round(y(value)) + 0.5);
      pen.stroke();
      if (value) pen.fillText(`${value} ms`, 0, y(value) - 1);
    }
    this.#area(pen, x, y, colour('--browser'), ({ server, browser }) => [server, server + browser]);
    this.#area(pen, x, y, colour('--accent'), ({ server }) => [0, server]);
  }

  #area(pen, x, y, colour, span) {
    pen.fillStyle = colour;
    for (let start = 0; start < this.#rows.length; start += 1) {
      let end = start;
      while (this.#rows[end]) end += 1;
      if (end - start > 1) {
        pen.beginPath();
        for (let i = start; i < end; i += 1) pen.lineTo(x(i), y(span(this.#rows[i])[1]));
        for (let i = end - 1; i >= start; i -= 1) pen.lineTo(x(i), y(span(this.#rows[i])[0]));
        pen.globalAlpha = 0.8;
        pen.fill();
        pen.globalAlpha = 1;
      }
      start = end;
    }
  }

  #describe() {
    const known = this.#rows.filter(Boolean);
    if (!known.length) return;
    const middle = (values) => Math.round(values.sort((a, b) => a - b)[values.length >> 1]);
    const [server, browser] = ['server', 'browser'].map((part) => middle(known.map((row) => row[part])));
    const label = `Delay over the last minute, median: server ${server} ms, browser ${browser} ms`;
    this.#canvas.setAttribute('aria-label', label);
  }
}
