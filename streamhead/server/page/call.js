// One connection to one session of the server: made by Call.open, ended by close, lost when the network says so.

const PATIENCE = 2500; // ms a broken connection may take to mend itself
const GATHERING = 1000; // ms to wait for the last of our addresses

// VP8 costs the server half of what H.264 does, and browsers take what is first in the offer.
function preferVp8(transceiver) {
  const codecs = RTCRtpReceiver.getCapabilities('video')?.codecs ?? [];
  const first = codecs.filter((codec) => codec.mimeType === 'video/VP8');
  transceiver.setCodecPreferences?.([...first, ...codecs.filter((codec) => !first.includes(codec))]);
}

function gathered(pc) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, GATHERING);
    pc.addEventListener('icegatheringstatechange', () => {
      if (pc.iceGatheringState === 'complete') {
        clearTimeout(timer);
        resolve();
      }
    });
  });
}

export class Call {
  #server;
  #timer;
  #closed = false;

  constructor(server, pc, stream, onlost) {
    this.#server = server;
    this.pc = pc;
    this.stream = stream;
    this.session = null;
    pc.addEventListener('connectionstatechange', () => {
      clearTimeout(this.#timer);
      if (this.#closed) return;
      if (pc.connectionState === 'failed') onlost();
      if (pc.connectionState === 'disconnected') this.#timer = setTimeout(onlost, PATIENCE);
    });
  }

  // settings: portrait, seed, temperature. Throws ServerError, or AbortError once the signal says so.
  static async open(server, microphone, settings, { signal, onlost }) {
    const pc = new RTCPeerConnection({ iceServers: [] });
    const stream = new MediaStream();
    const call = new Call(server, pc, stream, onlost);
    try {
      pc.addEventListener('track', ({ track }) => stream.addTrack(track));
      for (const track of microphone.getAudioTracks()) pc.addTrack(track, microphone);
      preferVp8(pc.addTransceiver('video', { direction: 'recvonly' }));
      await pc.setLocalDescription();
      await gathered(pc);
      const { type, sdp } = pc.localDescription;
      const answer = await server.offer({ type, sdp }, settings, signal);
      call.session = answer.session;
      signal.throwIfAborted();
      await pc.setRemoteDescription({ type: answer.type, sdp: answer.sdp });
      return call;
    } catch (error) {
      call.close();
      throw error;
    }
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.pc.close();
    if (this.session) this.#server.hangUp(this.session);
  }
}
