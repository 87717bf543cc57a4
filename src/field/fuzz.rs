//! For tests of decoders: floods them with bytes made from frames that are right, cut, joined, flipped and plain noise.
//!
//! `GATEHOUSE_FUZZ=10000000 cargo test --release --lib fuzz -- --nocapture` counts ten million inputs for each decoder;
//! without it there are some thousands.

use std::time::{Duration, Instant};

const INPUTS_DEFAULT: u64 = 5_000;
/// No decoder may need so long for one input; long enough for a machine that does something else meanwhile.
const HANG: Duration = Duration::from_secs(5);
/// Longer than any frame.
const LENGTH_MOST: usize = 600;

/// Numbers that look like chance and are the same every time.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    #[expect(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n.max(1)
    }
}

/// Gives `decode` ever new inputs made from `frames`, which are right ones; it asserts what has to hold.
pub fn flood(name: &str, frames: &[Vec<u8>], mut decode: impl FnMut(&[u8])) {
    let inputs = std::env::var("GATEHOUSE_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(INPUTS_DEFAULT);
    let mut chance = Chance::new(0x9E37_79B9_7F4A_7C15);
    let mut input = Vec::with_capacity(LENGTH_MOST);
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    for _ in 0..inputs {
        make(&mut input, frames, &mut chance);
        let started = Instant::now();
        decode(&input);
        let took = started.elapsed();
        assert!(took < HANG, "{name} took {took:?} for {input:02X?}");
        slowest = slowest.max(took);
    }
    println!("fuzz {name}: {inputs} inputs, slowest {slowest:?}, {:.1} s", begun.elapsed().as_secs_f64());
}

/// Noise and right frames in any order: `found` is told where each right one stands, in order.
pub fn stream(frames: &[Vec<u8>], noise: &[u8], chance: &mut Chance) -> (Vec<u8>, Vec<usize>) {
    let (mut bytes, mut which) = (Vec::new(), Vec::new());
    for _ in 0..1 + chance.below(4) {
        bytes.extend((0..chance.below(12)).filter_map(|_| noise.get(chance.below(noise.len()))));
        let nth = chance.below(frames.len());
        bytes.extend(&frames[nth]);
        which.push(nth);
    }
    (bytes, which)
}

fn make(input: &mut Vec<u8>, frames: &[Vec<u8>], chance: &mut Chance) {
    input.clear();
    for _ in 0..1 + chance.below(3) {
        match chance.below(8) {
            0 => input.extend((0..chance.below(40)).map(|_| chance.next() as u8)),
            1 => input.extend(std::iter::repeat_n(chance.next() as u8, chance.below(300))),
            kind => {
                let Some(frame) = frames.get(chance.below(frames.len())) else { continue };
                let start = input.len();
                input.extend(frame);
                match kind {
                    2 => input.truncate(start + chance.below(frame.len() + 1)),
                    3 | 4 => {
                        for _ in 0..1 + chance.below(3) {
                            let at = start + chance.below(frame.len());
                            if let Some(byte) = input.get_mut(at) {
                                *byte ^= 1 << chance.below(8);
                            }
                        }
                    }
                    5 => {
                        let at = start + chance.below(frame.len());
                        if let Some(byte) = input.get_mut(at) {
                            *byte = chance.next() as u8;
                        }
                    }
                    6 => input.insert(start + chance.below(frame.len() + 1), chance.next() as u8),
                    _ => {}
                }
            }
        }
    }
    input.truncate(LENGTH_MOST);
}
