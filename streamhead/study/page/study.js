// One rater's way through the study. The server knows what is rated and what comes next; the page keeps only the code.

const $ = (id) => document.getElementById(id);
const SCALES = ['realism', 'sync'];
const token = new URLSearchParams(location.hash.slice(1)).get('token');
if (token) history.replaceState(null, '', location.pathname);

let rater = '';
let item = null; // the video on screen
let sending = false;

for (const name of SCALES) {
  const row = document.createElement('div');
  row.className = 'grades';
  for (let grade = 1; grade <= 10; grade += 1) {
    const label = document.createElement('label');
    const input = Object.assign(document.createElement('input'), { type: 'radio', name, value: grade });
    label.append(input, String(grade));
    row.append(label);
  }
  $(name).append(row);
}

async function ask(path, { json, blob = false } = {}) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (json) headers['Content-Type'] = 'application/json';
  let response;
  try {
    response = await fetch(path, { method: json ? 'POST' : 'GET', headers, body: json && JSON.stringify(json) });
  } catch {
    throw new Error('The server does not answer. Nothing is lost: wait a moment and try again.');
  }
  if (response.ok) return blob ? response.blob() : response.json();
  if (response.status === 401) throw new Error('Open the page with the whole link you were given, #token=… included.');
  const { error } = await response.json().catch(() => ({}));
  throw new Error(error ?? `The server could not do that (${response.status}). Try again.`);
}

function tell(problem) {
  $('problem').hidden = !problem;
  $('problem').textContent = problem ?? '';
}

function show(state) {
  document.body.dataset.state = state;
  for (const name of ['welcome', 'rating', 'end']) $(name).hidden = name !== state;
}

const given = () => SCALES.map((name) => document.querySelector(`input[name=${name}]:checked`));
const play = () => {
  $('video').currentTime = 0;
  $('video').play().catch(() => {}); // a browser that wants another click has the button
};

async function go({ done, total, item: next }) {
  $('count').textContent = `${done} of ${total} videos rated`;
  $('progress').max = total;
  $('progress').value = done;
  if (next === null) {
    item = null;
    show('end');
    document.querySelector('#end h1').focus();
    return;
  }
  const film = await ask(`/video/${next}`, { blob: true });
  if (item) URL.revokeObjectURL($('video').src);
  item = next;
  $('rating').reset();
  $('grades').disabled = true;
  $('send').disabled = true;
  $('hint').hidden = false;
  $('video').src = URL.createObjectURL(film);
  show('rating');
  document.body.dataset.item = next;
  play();
}

async function attempt(work) {
  if (sending) return;
  sending = true;
  tell();
  try {
    await go(await work());
  } catch (error) {
    tell(error.message);
  } finally {
    sending = false;
  }
}

$('welcome').addEventListener('submit', (event) => {
  event.preventDefault();
  rater = $('code').value;
  localStorage.setItem('rater', rater);
  attempt(() => ask(`/next?rater=${encodeURIComponent(rater)}`));
});

function send() {
  const grades = given();
  if (!item || grades.includes(null)) return;
  const [realism, sync] = grades.map((input) => Number(input.value));
  attempt(() => ask('/rating', { json: { rater, item, realism, sync } }));
}

$('rating').addEventListener('submit', (event) => {
  event.preventDefault();
  send();
});
$('rating').addEventListener('change', () => {
  $('send').disabled = given().includes(null);
});
$('replay').addEventListener('click', play);
$('video').addEventListener('ended', () => {
  $('grades').disabled = false;
  $('hint').hidden = true;
});

document.addEventListener('keydown', (event) => {
  if (document.body.dataset.state !== 'rating' || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.key === 'r' || event.key === 'R') {
    play();
  } else if (event.key === 'Enter' && event.target.tagName !== 'BUTTON') {
    event.preventDefault();
    send();
  } else if (!$('grades').disabled && /^[0-9]$/.test(event.key)) {
    const open = given().indexOf(null);
    if (open < 0) return;
    const grade = event.key === '0' ? 10 : Number(event.key);
    document.querySelector(`input[name=${SCALES[open]}][value="${grade}"]`).checked = true;
    $('send').disabled = given().includes(null);
  } else if (event.key === 'Backspace') {
    const last = given().filter(Boolean).at(-1);
    if (last) last.checked = false;
    $('send').disabled = true;
  }
});

$('code').value = localStorage.getItem('rater') ?? crypto.getRandomValues(new Uint32Array(1))[0].toString(36).padStart(7, '0');
