//! OSDP's secure channel: session keys out of the base key, proofs of both sides, then each frame signed with the last one's
//! MAC as its start and its data encrypted. AES-128 is a library's; the modes are OSDP's own.

use std::fmt;

use aes::Aes128;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};

pub type Block = [u8; 16];

/// Sixteen bytes that are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Block);

/// The keys of one session, and both proofs.
#[derive(Clone)]
pub struct Session {
    encrypt: Aes128,
    sign: Aes128,
    sign_last: Aes128,
    reader_proof: Block,
    our_proof: Block,
}

/// An open channel.
#[derive(Clone)]
pub struct Channel {
    session: Session,
    /// The MAC of the last frame, from either side: the next one is chained to it.
    last: Block,
}

impl Key {
    /// From 32 hexadecimal digits.
    pub fn parse(hex: &str) -> Option<Self> {
        let hex = hex.trim();
        if hex.len() != 32 || !hex.bytes().all(|c| c.is_ascii_hexdigit()) {
            return None;
        }
        let mut key = [0; 16];
        for (nth, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(hex.get(nth * 2..nth * 2 + 2)?, 16).ok()?;
        }
        Some(Self(key))
    }
}

impl Session {
    /// From the base key, our random number and the reader's.
    pub fn new(key: &Key, ours: [u8; 8], readers: [u8; 8]) -> Self {
        let base = Aes128::new(&key.0.into());
        let derived = |kind: u8| {
            let mut seed = [0; 16];
            seed[0] = 1;
            seed[1] = kind;
            seed[2..8].copy_from_slice(&ours[..6]);
            Aes128::new(&sealed(&base, seed).into())
        };
        let encrypt = derived(0x82);
        let joined = |first: [u8; 8], second: [u8; 8]| {
            let mut block = [0; 16];
            block[..8].copy_from_slice(&first);
            block[8..].copy_from_slice(&second);
            block
        };
        let reader_proof = sealed(&encrypt, joined(ours, readers));
        let our_proof = sealed(&encrypt, joined(readers, ours));
        Self { encrypt, sign: derived(1), sign_last: derived(2), reader_proof, our_proof }
    }

    /// Whether the reader has the same key.
    pub fn proven(&self, proof: &[u8]) -> bool {
        same(&self.reader_proof, proof)
    }

    pub fn our_proof(&self) -> &Block {
        &self.our_proof
    }

    /// The reader's first MAC opens the channel.
    pub fn open(self, first: &[u8]) -> Option<Channel> {
        let last = sealed(&self.sign_last, sealed(&self.sign, self.our_proof));
        same(&last, first).then_some(Channel { session: self, last })
    }
}

impl Channel {
    /// Signs what we send; only the first four bytes go over the wire.
    pub fn sign(&mut self, bytes: &[u8]) -> [u8; 4] {
        self.last = self.mac(bytes);
        let [a, b, c, d, ..] = self.last;
        [a, b, c, d]
    }

    /// Whether the reader signed this, in answer to what we signed last.
    pub fn check(&mut self, bytes: &[u8], mac: [u8; 4]) -> bool {
        let full = self.mac(bytes);
        let right = same(&full[..4], &mac);
        if right {
            self.last = full;
        }
        right
    }

    pub fn encrypt(&self, data: &[u8]) -> Vec<u8> {
        let mut padded = data.to_vec();
        padded.push(0x80);
        padded.resize(padded.len().next_multiple_of(16), 0);
        let mut before = self.start();
        for block in padded.as_chunks_mut::<16>().0 {
            *block = sealed(&self.session.encrypt, xor(*block, before));
            before = *block;
        }
        padded
    }

    /// `None`: not encrypted with these keys.
    pub fn decrypt(&self, data: &[u8]) -> Option<Vec<u8>> {
        let (blocks, []) = data.as_chunks::<16>() else { return None };
        let mut plain = Vec::with_capacity(data.len());
        let mut before = self.start();
        for &block in blocks {
            let mut opened = block.into();
            self.session.encrypt.decrypt_block(&mut opened);
            plain.extend(xor(opened.into(), before));
            before = block;
        }
        let end = plain.iter().rposition(|&byte| byte != 0)?;
        (plain.get(end) == Some(&0x80)).then(|| {
            plain.truncate(end);
            plain
        })
    }

    /// Encryption begins at the complement of the last MAC.
    fn start(&self) -> Block {
        self.last.map(|byte| !byte)
    }

    fn mac(&self, bytes: &[u8]) -> Block {
        let mut padded = bytes.to_vec();
        if !padded.len().is_multiple_of(16) {
            padded.push(0x80);
            padded.resize(padded.len().next_multiple_of(16), 0);
        }
        let blocks = padded.as_chunks::<16>().0;
        blocks.iter().enumerate().fold(self.last, |before, (nth, &block)| {
            let cipher = if nth + 1 == blocks.len() { &self.session.sign_last } else { &self.session.sign };
            sealed(cipher, xor(block, before))
        })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(…)")
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Channel(…)")
    }
}

fn sealed(cipher: &Aes128, block: Block) -> Block {
    let mut block = block.into();
    cipher.encrypt_block(&mut block);
    block.into()
}

fn xor(a: Block, b: Block) -> Block {
    std::array::from_fn(|nth| a[nth] ^ b[nth])
}

/// Takes as long for wrong ones as for right ones.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Channel, Channel) {
        let key = Key::parse("000102030405060708090a0b0c0d0e0f").unwrap();
        let session = Session::new(&key, [1; 8], [2; 8]);
        let first = sealed(&session.sign_last, sealed(&session.sign, session.our_proof));
        let channel = session.open(&first).unwrap();
        (channel.clone(), channel)
    }

    #[test]
    fn the_cipher_is_aes_128() {
        let key = Aes128::new(&[0; 16].into());
        assert_eq!(sealed(&key, [0; 16])[..4], [0x66, 0xE9, 0x4B, 0xD4]); // FIPS 197
    }

    #[test]
    fn what_one_side_seals_the_other_opens_at_every_length() {
        let (mut ours, mut theirs) = pair();
        for length in 0..70 {
            let data: Vec<u8> = (0..length).collect();
            let sealed = ours.encrypt(&data);
            assert_eq!(theirs.decrypt(&sealed), Some(data));
            let mac = ours.sign(&sealed);
            assert!(theirs.check(&sealed, mac));
        }
        assert_eq!(theirs.decrypt(&[1, 2, 3]), None);
        assert_eq!(theirs.decrypt(&[]), None);
    }

    #[test]
    fn a_frame_heard_before_does_not_pass_again() {
        let (mut ours, mut theirs) = pair();
        let mac = ours.sign(b"card");
        assert!(theirs.check(b"card", mac));
        assert!(!theirs.check(b"card", mac));
    }

    #[test]
    fn a_key_is_32_hexadecimal_digits_and_is_not_shown() {
        for wrong in ["", "0011", "zz0102030405060708090a0b0c0d0e0f", "+10102030405060708090a0b0c0d0e0f"] {
            assert!(Key::parse(wrong).is_none(), "{wrong}");
        }
        let key = Key::parse(" 000102030405060708090A0B0C0D0E0F\n").unwrap();
        assert_eq!(format!("{key:?}"), "Key(…)");
        assert!(!Session::new(&key, [1; 8], [2; 8]).proven(&[0; 16]));
    }
}
