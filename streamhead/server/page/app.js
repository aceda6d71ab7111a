// The page: one Start..Stop at a time, and within it one connection after another until it holds.

import { Call } from './call.js';
import { DelayChart } from './chart.js';
import { Receiver } from './figures.js';
import { MicrophoneError, openMicrophone, silence } from './microphone.js';
import { Server, ServerError } from './server.js';

const $ = (id) => document.getElementById(id);
const PAUSES = [500, 1000, 2000, 4000, 8000, 8000, 8000, 8000, 8000, 8000]; // ms between attempts, about a minute
const MISSES = 3; // answers to a stats question that may stay away
const OFFLINE = 'The network is gone; waiting for it';
const LIVE_ONLY = ['mute', 'interrupt', 'reconnect'];

// The token never stays where it could be copied, bookmarked or seen over a shoulder.
const token = new URLSearchParams(location.hash.slice(1)).get('token');
if (location.hash) history.replaceState(null, '', location.pathname + location.search);

const server = new Server(token);
const chart = new DelayChart($('chart'));
const video = $('head');

let run = null; // AbortController of the present Start..Stop
let attempt = null; // AbortController of the present connection
let call = null;
let microphone = null;
let portrait = { id: undefined, file: null, url: null };
let uploading = null; // AbortController
let muted = false;

// ---- words

function say(text) {
  $('status').textContent = text;
}

function enter(state, text) {
  document.body.dataset.state = state;
  const idle = state === 'idle';
  $('start').textContent = idle ? 'Start' : 'Stop';
  if (idle && LIVE_ONLY.includes(document.activeElement?.id)) $('start').focus();
  for (const id of LIVE_ONLY) $(id).disabled = idle;
  say(text);
}

function complain(error) {
  const known = error instanceof ServerError || error instanceof MicrophoneError;
  $('problem-text').textContent = known ? error.message : `Something went wrong in this page: ${error.message}`;
  $('silent').hidden = !(error instanceof MicrophoneError);
  $('problem').hidden = false;
}

function calm() {
  $('problem').hidden = true;
}

const press = (button, pressed) => button.setAttribute('aria-pressed', String(pressed));

// Waits; a network that comes back, or the signal, ends it early.
function pause(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener('online', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener('online', done);
    signal.addEventListener('abort', done);
  });
}

// ---- the call

const settings = () => ({
  seed: $('seed').valueAsNumber,
  temperature: $('temperature').valueAsNumber,
  ...(portrait.id && { portrait: portrait.id }),
});

async function start(open) {
  const { signal } = (run = new AbortController());
  calm();
  performance.clearMeasures('first-frame');
  performance.mark('start');
  enter('starting', 'Waiting for the microphone');
  try {
    const stream = await open();
    if (signal.aborted) return stream.getTracks().forEach((track) => track.stop());
    microphone = stream;
    for (const track of stream.getTracks()) track.enabled = !muted;
    stream.getTracks()[0].addEventListener('ended', () => {
      stop(new MicrophoneError('The microphone was unplugged or taken away. Mend that, then press Start.'));
    });
    await connect();
  } catch (error) {
    if (!signal.aborted) stop(error);
  }
}

function stop(error) {
  run?.abort();
  attempt?.abort();
  run = attempt = null;
  call?.close();
  call = null;
  microphone?.getTracks().forEach((track) => track.stop());
  microphone = null;
  video.srcObject = null;
  for (const figure of $('figures').querySelectorAll('dd')) figure.textContent = '–';
  enter('idle', error ? 'Stopped' : 'Ready');
  if (error) complain(error);
}

async function open(signal) {
  const onlost = () => signal.aborted || reconnect('The connection was lost; connecting again');
  try {
    return await Call.open(server, microphone, settings(), { signal, onlost });
  } catch (error) {
    if (error.status !== 404 || !portrait.file) throw error;
    portrait.id = await server.addPortrait(portrait.file, signal); // the server forgot it, or was started anew
    return Call.open(server, microphone, settings(), { signal, onlost });
  }
}

// Keeps trying where a call was lost; the first attempt of all tells its error at once.
async function connect(pauses = []) {
  attempt?.abort();
  const { signal } = (attempt = new AbortController());
  call?.close();
  call = null;
  for (let tries = 0; ; tries += 1) {
    try {
      const opened = await open(signal);
      if (signal.aborted) return opened.close();
      call = opened;
      break;
    } catch (error) {
      if (signal.aborted) return;
      const passing = error.status === 0 || error.status === 429 || error.status >= 500;
      if (!passing || tries >= pauses.length) return stop(error);
      say(navigator.onLine ? `${error.status === 0 ? 'No answer' : 'Not yet'}; trying again` : OFFLINE);
      await pause(pauses[tries], signal);
      if (signal.aborted) return;
    }
  }
  enter('starting', 'Connecting');
  video.srcObject = call.stream;
  video.play().catch(() => {}); // muted it may always; where it may not, the next press on “Hear it” plays it
  if (muted) change({ muted });
  onFirstFrame(signal);
  watch(call, signal);
}

function reconnect(text) {
  if (!microphone) return; // no call, or one that is still to begin
  calm();
  enter('lost', navigator.onLine ? text : OFFLINE);
  connect(PAUSES);
}

function onFirstFrame(signal) {
  const shown = () => {
    if (signal.aborted) return;
    if (!performance.getEntriesByName('first-frame').length) performance.measure('first-frame', 'start');
    const [first] = performance.getEntriesByName('first-frame');
    $('first').textContent = `${(first.duration / 1000).toFixed(2)} s`;
    enter('live', muted ? 'Live, muted' : 'Live');
  };
  if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(shown);
  else video.addEventListener('loadeddata', shown, { once: true });
}

// What can be changed in a running call; before one, the offer carries it.
async function change(wishes) {
  if (!call) return;
  try {
    await server.change(call.session, wishes);
  } catch (error) {
    complain(error);
  }
}

// ---- figures

const ms = (value) => (value === null || value === undefined ? '–' : `${Math.round(value)} ms`);
const signed = (value) => (value === null || value === undefined ? '–' : ms(value).replace('-', '−'));

async function watch(current, signal) {
  const receiver = new Receiver(current.pc);
  for (let misses = 0; !signal.aborted; ) {
    await pause(1000, signal);
    if (signal.aborted) return;
    const asked = await Promise.allSettled([server.stats(current.session, signal), receiver.read()]);
    if (signal.aborted) return;
    const [stats, own] = asked.map(({ value }) => value ?? null);
    const { reason } = asked[0];
    misses = reason?.status === 0 ? misses + 1 : 0;
    // A server that was started anew knows nothing of this session; one that is gone says nothing at all.
    if (reason?.status === 404 || misses >= MISSES) return reconnect('The server lost the call; connecting again');
    show(stats, own);
  }
}

function show(stats, own) {
  const delay = stats?.delay_ms?.now ?? null;
  if (own) {
    $('fps').textContent = own.fps === null ? '–' : `${own.fps.toFixed(1)} fps`;
    $('resolution').textContent = own.width ? `${own.width} × ${own.height}` : '–';
    $('hold').textContent = ms(own.hold_ms);
    $('drops').textContent = `${(stats?.late_frames ?? 0) + (stats?.dropped ?? 0) + own.dropped}, ${own.freezes}`;
  }
  $('delay').textContent = ms(delay);
  $('delay').title = stats?.delay_ms ? `95 of 100 frames: ${ms(stats.delay_ms.p95)} or less` : '';
  $('offset').textContent = signed(own?.offset_ms ?? stats?.av_offset_ms);
  $('voice').textContent = muted ? 'muted' : stats ? (stats.speech ? 'heard' : 'silent') : '–';
  chart.add(delay, own?.hold_ms ?? null);
}

// ---- controls

$('start').addEventListener('click', () => (run ? stop() : start(openMicrophone)));
$('silent').addEventListener('click', () => {
  $('start').focus();
  start(silence);
});
$('reconnect').addEventListener('click', () => reconnect('Connecting again'));

$('mute').addEventListener('click', () => {
  muted = !muted;
  press($('mute'), muted);
  microphone?.getTracks().forEach((track) => (track.enabled = !muted));
  change({ muted });
  if (document.body.dataset.state === 'live') say(muted ? 'Live, muted' : 'Live');
});

$('hear').addEventListener('click', () => {
  video.muted = !video.muted;
  press($('hear'), !video.muted);
  video.play().catch(() => {});
});

$('interrupt').addEventListener('click', async () => {
  if (!call) return;
  try {
    await server.interrupt(call.session);
    say('Interrupted');
  } catch (error) {
    complain(error);
  }
});

$('full').addEventListener('click', () => {
  if (document.fullscreenElement) document.exitFullscreen();
  else if ($('stage').requestFullscreen) $('stage').requestFullscreen();
  else video.webkitEnterFullscreen?.(); // an iPhone shows only the video itself
});

const randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0] % 1_000_000;

$('another').addEventListener('click', () => {
  $('seed').value = randomSeed();
  change({ seed: $('seed').valueAsNumber });
  say('Another take');
});

$('seed').addEventListener('change', () => {
  if (!$('seed').checkValidity() || Number.isNaN($('seed').valueAsNumber)) $('seed').value = randomSeed();
  change({ seed: $('seed').valueAsNumber });
});

let settling;
$('temperature').addEventListener('input', () => {
  const temperature = $('temperature').valueAsNumber;
  $('temperature-value').textContent = temperature.toFixed(2);
  clearTimeout(settling);
  settling = setTimeout(() => change({ temperature }), 100); // a slider being dragged is not a hundred wishes
});

// ---- portrait

function showPortrait({ file, url }) {
  $('preview').hidden = !url;
  $('no-preview').hidden = Boolean(url);
  $('default-face').hidden = !url;
  if (url) $('preview').src = url;
  else $('preview').removeAttribute('src');
  $('preview').alt = file ? `Your picture, ${file.name}` : '';
  $('portrait-name').textContent = file ? file.name : 'The default face';
}

function usePortrait(next) {
  const before = portrait;
  portrait = next;
  showPortrait(portrait);
  if (before.id) server.removePortrait(before.id);
  if (before.url) URL.revokeObjectURL(before.url);
  reconnect('Connecting with the new portrait');
}

$('picture').addEventListener('change', async () => {
  const [file] = $('picture').files;
  $('picture').value = ''; // so that the same file can be chosen again, mended
  if (!file) return;
  uploading?.abort();
  const { signal } = (uploading = new AbortController());
  const next = { id: undefined, file, url: URL.createObjectURL(file) };
  $('refusal').textContent = '';
  showPortrait(next);
  $('portrait-name').textContent = 'Looking for a face';
  try {
    next.id = await server.addPortrait(file, signal);
    usePortrait(next);
  } catch (error) {
    URL.revokeObjectURL(next.url);
    if (signal.aborted) return;
    showPortrait(portrait);
    $('refusal').textContent = error.message;
  }
});

$('default-face').addEventListener('click', () => {
  uploading?.abort();
  $('refusal').textContent = '';
  $('picture').focus();
  usePortrait({ id: undefined, file: null, url: null });
});

// ---- coming and going

$('seed').value = randomSeed();
press($('mute'), false);
addEventListener('offline', () => run && say(OFFLINE));
addEventListener('online', () => document.body.dataset.state === 'lost' && say('The network is back'));
addEventListener('pagehide', () => run && stop());
