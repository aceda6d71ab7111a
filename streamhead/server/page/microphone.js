// The microphone, and what to say where there is none.

export class MicrophoneError extends Error {
  constructor(message) {
    super(message);
    this.name = 'MicrophoneError';
  }
}

const WORDS = {
  NotAllowedError:
    'The page may not use the microphone. Allow it (the icon beside the address), then press Start again.',
  NotFoundError: 'No microphone was found. Plug one in, then press Start again.',
  NotReadableError: 'Another program holds the microphone. Close it there, then press Start again.',
};

export async function openMicrophone() {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new MicrophoneError(
      'Browsers give a microphone only to pages of this machine or over https. ' +
        `Open http://localhost:${location.port || 80} on the machine itself, or start the server with TLS.`,
    );
  }
  try {
    // With “Hear it” the head's voice comes out of the loudspeaker: echo cancellation keeps it out of the microphone.
    return await navigator.mediaDevices.getUserMedia({
      audio: { channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true },
    });
  } catch (error) {
    throw new MicrophoneError(WORDS[error.name] ?? `The microphone cannot be used: ${error.message}`);
  }
}

let context;

// A face lives in silence too; the server wants a sound track all the same.
export function silence() {
  context ??= new AudioContext();
  const destination = context.createMediaStreamDestination();
  const source = new ConstantSourceNode(context, { offset: 0 }); // with no input at all nothing is sent
  source.connect(destination);
  source.start();
  return destination.stream;
}
