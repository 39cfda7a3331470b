//! Programs: what an input's bytes mean.

use super::calls::{self, Handles};
use super::channel;
use super::edits::Files;
use disk_chan::raw::options::SIGBUS_GUARD;

/// One step.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub op: u8,
    pub a: u8,
    pub b: u8,
    pub c: u8,
    pub v: u64,
}

/// Steps of a program at most.
const STEPS: usize = 60;

fn step(bytes: &[u8]) -> Step {
    let mut v = [0; 8];
    v.copy_from_slice(&bytes[4..12]);
    Step { op: bytes[0], a: bytes[1], b: bytes[2], c: bytes[3], v: u64::from_le_bytes(v) }
}

/// Run an input.
pub fn run(data: &[u8]) {
    let [base, how, program @ ..] = data else { return };
    let kind = (*base % 4) as usize;
    let (dir, names) = channel::lay_out(kind);
    // Without checksums nothing tells a changed payload.
    let mut files = Files { dir: dir.clone(), names, forged: kind == 1 };
    let guard = if how & 2 == 2 { SIGBUS_GUARD } else { 0 };
    if how & 1 == 1 {
        files.reboot();
    }
    let mut handles = Handles::default();
    for step in program.chunks_exact(12).take(STEPS).map(step) {
        perform(&step, &mut handles, &mut files, guard);
    }
    drop(handles);
    calls::afterwards(&dir, files.forged);
    files.clear();
}

fn perform(step: &Step, handles: &mut Handles, files: &mut Files, guard: u32) {
    let dir = files.dir.clone();
    let v = step.v;
    match step.op % 32 {
        0 | 1 => files.word(step, |_| v),
        2 | 3 => files.bound(step),
        4 => files.word(step, |word| word.wrapping_add(v as i8 as u64)),
        5 => files.word(step, |word| word ^ 1 << (v % 64)),
        6 => files.copy(step),
        7 => files.bytes(step),
        // A cut under a mapping without the guard is a signal, as documented.
        8 | 9 if guard != 0 || !handles.any_open() => files.length(step),
        10 | 11 => files.name_of(step),
        12 => files.seal(),
        13 if !handles.any_open() => files.reboot(),
        14 | 15 => handles.open(&dir, step, guard),
        16 => handles.producer(step),
        17 | 18 => handles.subscribe(step),
        19 => handles.send(step),
        20 => handles.send_batch(step),
        21 => handles.reserve(step),
        22 | 23 => handles.recv(step, files.forged),
        24 => handles.recv_batch(step, files.forged),
        25 => handles.drain(step, files.forged),
        26 | 27 => handles.consumer_call(step),
        28 => handles.clone(step),
        29 | 30 => handles.channel_call(step, &dir),
        31 => handles.close(step),
        _ => {}
    }
}
