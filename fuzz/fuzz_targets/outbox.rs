//! The outbox against its model, a vector of bytes.
#![no_main]
#![forbid(unsafe_code)]

use std::io::IoSlice;

use bytes::{Buf, Bytes};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use workerman_protocol::{Outbox, SHARE_FROM};

#[derive(Arbitrary, Debug)]
enum Step {
    Slice(Size),
    Bytes(Size),
    Shared(Size),
    Buffer(u8),
    Reserve(u16),
    Truncate(u16),
    SplitOff(u16),
    Advance(u16),
    Append(Vec<Piece>, bool),
    Copy(u16),
    Clear(u16),
    Finish,
    IntoBytes,
}

#[derive(Arbitrary, Debug)]
enum Piece {
    Slice(Size),
    Bytes(Size),
    Shared(Size),
    Advance(u16),
}

/// Mostly small, sometimes around the size from which pieces are shared.
#[derive(Arbitrary, Debug, Clone, Copy)]
enum Size {
    Small(u8),
    Border(u8),
}

/// Bytes that differ from each other and from all before, as far as bytes can.
struct Source(u8);

impl Source {
    fn bytes(&mut self, size: Size) -> Vec<u8> {
        let n = match size {
            Size::Small(n) => n.into(),
            Size::Border(n) => SHARE_FROM - 128 + usize::from(n),
        };
        (0..n)
            .map(|_| {
                self.0 = self.0.wrapping_mul(5).wrapping_add(1);
                self.0
            })
            .collect()
    }
}

fn put(out: &mut Outbox, model: &mut Vec<u8>, piece: &Piece, source: &mut Source) {
    match *piece {
        Piece::Slice(size) => {
            let bytes = source.bytes(size);
            out.put_slice(&bytes);
            model.extend(bytes);
        }
        Piece::Bytes(size) => {
            let bytes = source.bytes(size);
            model.extend(&bytes);
            out.put_bytes(bytes.into());
        }
        Piece::Shared(size) => {
            let bytes = source.bytes(size);
            model.extend(&bytes);
            out.put_shared(bytes.into());
        }
        Piece::Advance(n) => {
            let n = usize::from(n).min(model.len());
            out.advance(n);
            model.drain(..n);
        }
    }
}

fn same(out: &Outbox, model: &[u8]) {
    assert_eq!(out.len(), model.len());
    assert_eq!(out.is_empty(), model.is_empty());
    assert_eq!(out.remaining(), model.len());
    assert!(model.starts_with(out.chunk()));
    assert_eq!(out.chunk().is_empty(), model.is_empty());
    let mut slots = [IoSlice::new(&[]); 4];
    let used = out.chunks_vectored(&mut slots);
    let mut rest = model;
    for slot in &slots[..used] {
        assert!(!slot.is_empty());
        rest = rest.strip_prefix(&**slot).expect("the chunks are the bytes, in order");
    }
    assert!(rest.is_empty() || used == slots.len());
}

fuzz_target!(|steps: Vec<Step>| {
    let (mut out, mut model, mut finish) = (Outbox::new(), Vec::new(), false);
    let mut source = Source(1);
    for step in steps.iter().take(64) {
        match step {
            Step::Slice(size) => put(&mut out, &mut model, &Piece::Slice(*size), &mut source),
            Step::Bytes(size) => put(&mut out, &mut model, &Piece::Bytes(*size), &mut source),
            Step::Shared(size) => put(&mut out, &mut model, &Piece::Shared(*size), &mut source),
            Step::Buffer(n) => {
                let bytes = source.bytes(Size::Small(*n));
                out.buffer().extend_from_slice(&bytes);
                model.extend(bytes);
            }
            Step::Reserve(n) => out.reserve(usize::from(*n)),
            Step::Truncate(n) => {
                out.truncate(usize::from(*n));
                model.truncate(usize::from(*n));
                // It comes behind everything, so it is what was appended last.
                finish = false;
            }
            Step::SplitOff(n) => {
                let mut back = out.split_off(usize::from(*n));
                same(&back, &model[usize::from(*n).min(model.len())..]);
                assert!(back.is_finished() == finish && !out.is_finished());
                out.append(&mut back);
            }
            Step::Advance(n) => put(&mut out, &mut model, &Piece::Advance(*n), &mut source),
            Step::Append(pieces, finished) => {
                let (mut other, mut theirs) = (Outbox::new(), Vec::new());
                for piece in pieces.iter().take(8) {
                    put(&mut other, &mut theirs, piece, &mut source);
                }
                if *finished {
                    other.finish();
                    finish = true;
                }
                out.append(&mut other);
                model.append(&mut theirs);
                same(&other, &[]);
                assert!(!other.is_finished());
                // What the other writes next must not show up here.
                put(&mut other, &mut theirs, &Piece::Slice(Size::Small(9)), &mut source);
                same(&other, &theirs);
            }
            Step::Copy(n) => {
                let n = usize::from(*n).min(model.len());
                assert_eq!(out.copy_to_bytes(n), Bytes::from(model.drain(..n).collect::<Vec<_>>()));
            }
            Step::Clear(capacity) => {
                out.clear(usize::from(*capacity));
                assert!(out.buffer().capacity() <= usize::from(*capacity));
                model.clear();
                finish = false;
            }
            Step::Finish => {
                out.finish();
                finish = true;
            }
            Step::IntoBytes => {
                assert_eq!(std::mem::take(&mut out).into_bytes(), model);
                model.clear();
                finish = false;
            }
        }
        same(&out, &model);
        assert_eq!(out.is_finished(), finish);
    }
    assert_eq!(out.into_bytes(), model);
});
