// What the browser itself knows about the picture it receives.

const WINDOW = 5; // reads
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

// Reads a connection's getStats, to be asked once a second; rates are over the last few seconds.
export class Receiver {
  #pc;
  #before = []; // the last few reports of the video
  #offsets = [];

  constructor(pc) {
    this.#pc = pc;
  }

  // {fps, hold_ms, offset_ms, frames, dropped, freezes, width, height}; null where there is no figure yet.
  async read() {
    const report = await this.#pc.getStats();
    const inbound = [...report.values()].filter((entry) => entry.type === 'inbound-rtp');
    const video = inbound.find((entry) => entry.kind === 'video');
    const audio = inbound.find((entry) => entry.kind === 'audio');
    if (!video) return null;
    this.#before.push(video);
    if (this.#before.length > WINDOW) this.#before.shift();
    const [last] = this.#before;
    const seconds = (video.timestamp - last.timestamp) / 1000;
    const emitted = video.jitterBufferEmittedCount - last.jitterBufferEmittedCount;
    // Both are instants of the sender's clock: what is seen now against what is heard now.
    if (video.estimatedPlayoutTimestamp && audio?.estimatedPlayoutTimestamp) {
      this.#offsets.push(audio.estimatedPlayoutTimestamp - video.estimatedPlayoutTimestamp);
      if (this.#offsets.length > WINDOW) this.#offsets.shift();
    }
    return {
      fps: seconds > 0 ? (video.framesDecoded - last.framesDecoded) / seconds : null,
      hold_ms: emitted > 0 ? (1000 * (video.jitterBufferDelay - last.jitterBufferDelay)) / emitted : null,
      offset_ms: this.#offsets.length ? mean(this.#offsets) : null,
      frames: video.framesDecoded ?? 0,
      dropped: video.framesDropped ?? 0,
      freezes: video.freezeCount ?? 0,
      width: video.frameWidth ?? null,
      height: video.frameHeight ?? null,
    };
  }
}
