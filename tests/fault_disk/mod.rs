//! A disk under SQLite that loses power, is full, or fails: a VFS that passes everything on and writes it down
//! ([`shim`], [`recorder`]), and what a disk may hold at any step of it ([`disk`]). On it a scripted day ([`day`]), and what
//! must hold after a cut ([`promise`]).

pub mod day;
pub mod disk;
pub mod promise;
pub mod recorder;
mod shim;
mod state;

/// What a disk writes as a whole.
pub const SECTOR: usize = 512;

/// Dice with a seed (xorshift64*).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        // Never 0, and seeds that are near one another roll differently from the start.
        Self((seed ^ 0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9) | 1)
    }

    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below
    }
}
