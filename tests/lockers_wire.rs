//! Lockers over the wire, with the real daemon: ordered and open, ordered and jammed, open without an order, left open.
//! An acknowledgement comes each time, and is never taken for a cell that opened.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use gateway::Gateway;
use serde_json::{Value as Json, json};

/// A lock board of the 8A family behind a serial device server.
#[derive(Debug, Clone, Default)]
struct Board(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// By cell, from 0.
    open: [bool; 8],
    /// It takes orders, but nothing moves.
    jammed: bool,
    orders: Vec<u8>,
}

impl Board {
    /// Its port.
    fn start(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let board = self.clone();
        std::thread::spawn(move || {
            for line in listener.incoming().flatten() {
                let board = board.clone();
                std::thread::spawn(move || board.serve(line));
            }
        });
        port
    }

    fn serve(&self, mut line: TcpStream) {
        let mut frame = [0; 5];
        while line.read_exact(&mut frame).is_ok() {
            assert_eq!(frame.iter().fold(0, |check, byte| check ^ byte), 0, "{frame:02x?}");
            if line.write_all(&self.reply(frame)).is_err() {
                return;
            }
        }
    }

    fn reply(&self, [what, address, cell, ..]: [u8; 5]) -> Vec<u8> {
        let mut state = self.0.lock().unwrap();
        let mut reply = match what {
            0x80 => {
                let closed = state.open.iter().rev().fold(0, |bits, open| bits << 1 | u8::from(!open));
                vec![0x80, address, 0, 0, closed, 0x33]
            }
            0x8A => {
                state.orders.push(cell);
                if !state.jammed {
                    state.open[usize::from(cell) - 1] = true;
                }
                vec![0x8A, address, cell, 0x11]
            }
            other => panic!("{other:02x} is no question of this board's"),
        };
        reply.push(reply.iter().fold(0, |check, byte| check ^ byte));
        reply
    }

    fn set(&self, cell: usize, open: bool) {
        self.0.lock().unwrap().open[cell - 1] = open;
    }
}

fn house(port: u16) -> Gateway {
    let mut gateway = Gateway::new("cp-017");
    let open = |cell: u8| format!("[[device.command]]\naction = \"open\"\ntarget = \"cell-{cell}\"\n");
    gateway.configure(&format!(
        r#"
[[channel]]
id      = "lockers"
type    = "serial"
address = "127.0.0.1:{port}"
[[device]]
id           = "bank-1"
channel      = "lockers"
unit         = 1
profile      = "lock-board-8a"
cells        = 8
poll         = "200ms"
opens_within = "2s"
held_after   = "3s"
{}{}"#,
        open(1),
        open(2),
    ));
    gateway.start();
    gateway.until("the cells have been read", || {
        let points = gateway.get("/api/v1/points")?;
        let read = points["points"].as_array()?.iter().filter(|point| point["value"] == "closed").count();
        (read == 8).then_some(())
    });
    gateway
}

/// `1 opened by k-1`
fn lockers(events: &[Json]) -> Vec<String> {
    let line = |event: &Json| {
        let word = event["type"].as_str()?.strip_prefix("gatehouse.locker.")?.to_owned();
        let by = event["data"]["order"].as_str().map(|key| format!(" by {key}")).unwrap_or_default();
        Some(format!("{} {word}{by}", event["data"]["cell"]))
    };
    events.iter().filter_map(line).collect()
}

fn until_told(gateway: &Gateway, count: usize) -> Vec<String> {
    gateway.until(&format!("the lockers have told {count} things"), || {
        let told = lockers(&gateway.events());
        (told.len() >= count).then_some(told)
    })
}

#[test]
fn a_bank_tells_what_was_ordered_what_was_not_and_what_did_not_move() {
    let board = Board::default();
    let mut gateway = house(board.start());
    let order = |cell: u8, key: &str| {
        let order = json!({ "action": "open", "target": format!("cell-{cell}"), "by": "li", "key": key });
        gateway.post("/api/v1/devices/bank-1/commands", &order)
    };
    let (status, answer) = order(1, "k-1");
    assert_eq!((status, &answer["outcome"]), (200, &Json::from("executed")), "{answer}");
    assert_eq!(until_told(&gateway, 1), ["1 opened by k-1"]);
    board.set(1, false);
    assert_eq!(until_told(&gateway, 2)[1..], ["1 closed"]);

    board.0.lock().unwrap().jammed = true;
    let (status, answer) = order(2, "k-2");
    assert_eq!((status, &answer["outcome"]), (200, &Json::from("executed")), "the board took it: {answer}");
    assert_eq!(until_told(&gateway, 3)[2..], ["2 jammed by k-2"]);

    board.set(5, true);
    assert_eq!(until_told(&gateway, 6)[3..], ["5 opened", "5 unexpected", "5 held"]);
    board.set(5, false);
    assert_eq!(until_told(&gateway, 7)[6..], ["5 closed"]);

    let (status, _) = order(3, "k-3");
    assert_eq!(status, 403, "only what is allowed");
    assert_eq!(order(1, "k-1").0, 200);
    gateway.stop();
    assert_eq!(board.0.lock().unwrap().orders, [1, 2], "each key once, and nothing that is not allowed");
    assert_eq!(lockers(&gateway.journal()).len(), 7);
}
