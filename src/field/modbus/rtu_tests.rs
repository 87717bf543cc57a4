//! Writes on a line: late acknowledgements, and adapters that echo what is sent.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio_serial::SerialStream;

use super::super::{Framing, Write};
use super::*;
use crate::field::wire::{Parity, Port, Wire};

const TIMEOUT: Duration = Duration::from_millis(200);

/// A line whose far end does `say` with each frame of eight bytes.
fn line(mut say: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> (Link, Rtu, JoinHandle<()>) {
    let (mut far, near) = SerialStream::pair().unwrap();
    let task = tokio::spawn(async move {
        let mut frame = [0; 8];
        while far.read_exact(&mut frame).await.is_ok() {
            for bytes in say(&frame) {
                far.write_all(&bytes).await.unwrap();
            }
        }
    });
    let port = Port { path: "pty".into(), baud: 115_200, parity: Parity::None, stop_bits: 1, rs485: false };
    let settings = Settings::new(Wire::Serial(port), Framing::Rtu, TIMEOUT, Vec::new());
    (Link::of(near), Rtu::new(&settings), task)
}

fn on(at: u16) -> Request {
    Request::Write(Write::Coil { at, word: 0xFF00 })
}

fn any() -> Request {
    Request::Read(Span { table: Table::Holding, register: 0, count: 1 })
}

#[tokio::test]
async fn the_echo_of_a_write_to_a_dead_unit_is_no_acknowledgement() {
    let (mut link, mut rtu, _far) = line(|frame| vec![frame.to_vec()]);
    assert!(!rtu.knows_its_echo());
    let read = rtu.ask(&mut link, 1, &any()).await;
    assert!(matches!(read, Err(Failure::Wrong)), "{read:?}");
    assert!(rtu.knows_its_echo());
    let wrote = rtu.ask(&mut link, 1, &on(0)).await;
    assert!(matches!(wrote, Err(Failure::Wrong)), "{wrote:?}");
}

#[tokio::test]
async fn behind_an_echo_the_acknowledgement_is_found() {
    let (mut link, mut rtu, _far) = line(|frame| match frame[1] {
        5 => vec![frame.to_vec(), frame.to_vec()],
        _ => vec![frame.to_vec()],
    });
    assert!(rtu.ask(&mut link, 1, &any()).await.is_err());
    assert_eq!(rtu.ask(&mut link, 1, &on(3)).await.unwrap(), Reply::Written);
}

#[tokio::test]
async fn a_late_acknowledgement_is_not_taken_for_that_of_the_next_write() {
    let mut kept: Option<Vec<u8>> = None;
    // The first write is answered when the second comes, and the second never.
    let (mut link, mut rtu, _far) = line(move |frame| match kept.replace(frame.to_vec()) {
        Some(late) => vec![late],
        None => Vec::new(),
    });
    let first = rtu.ask(&mut link, 1, &on(0)).await;
    assert!(matches!(first, Err(Failure::Silent)), "{first:?}");
    let Err(Failure::Doubt { until }) = rtu.ask(&mut link, 1, &on(0)).await else {
        panic!("the very same write went out at once");
    };
    assert!(until <= Instant::now() + LATE_MOST * TIMEOUT, "it is not for ever");
    let other = rtu.ask(&mut link, 2, &on(1)).await;
    assert!(
        matches!(other, Err(Failure::Wrong)),
        "another unit is asked, and the late one is not its: {other:?}"
    );
}

#[tokio::test]
async fn a_unit_that_is_in_doubt_for_a_read_takes_orders() {
    let (mut link, mut rtu, _far) = line(|frame| match frame[1] {
        5 => vec![frame.to_vec()],
        _ => Vec::new(),
    });
    let read = rtu.ask(&mut link, 1, &any()).await;
    assert!(matches!(read, Err(Failure::Silent)), "{read:?}");
    assert_eq!(rtu.ask(&mut link, 1, &on(0)).await.unwrap(), Reply::Written);
}
