//! Maintenance with the real binary: set with the command, kept over kill -9, and the fault that is there at its end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway;

use std::process::{Command, Output};

use gatehouse::sim::modbus::{Server, Units};
use gateway::{Gateway, beside, of_kind, text};

fn compound(server: &Server) -> String {
    format!(
        "[[channel]]\nid = \"plant\"\ntype = \"modbus-tcp\"\naddress = \"{}\"\ntimeout = \"100ms\"\n\
         [[device]]\nid = \"tank\"\nchannel = \"plant\"\nunit = 1\npoll = \"100ms\"\nplace = \"3号楼/屋顶\"\n\
         [[device.point]]\nid = \"level\"\ntable = \"holding\"\nregister = 0\ntype = \"u16\"\n\
         [[rule]]\nid = \"high\"\npoint = \"tank.level\"\nabove = 100.0\n",
        server.address
    )
}

/// `gatehouse maintenance` with these arguments, as a person would.
fn said(gateway: &Gateway, arguments: &[&str]) -> Output {
    let url = format!("http://{}", gateway.api().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_gatehouse"));
    command.arg("maintenance").args(arguments).args(["--url", &url]);
    command.output().unwrap()
}

fn done(gateway: &Gateway, arguments: &[&str]) -> String {
    let output = said(gateway, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Until this daemon has read the tank `at` that level.
fn until_read(gateway: &Gateway, level: f64) {
    gateway.until("the tank is read", || {
        let points = gateway.get("/api/v1/points")?;
        (points["points"][0]["value"].as_f64() == Some(level)).then_some(())
    });
}

#[tokio::test]
async fn maintenance_is_set_listed_and_ended_with_the_command_and_outlives_kill_9() {
    let units = Units::default();
    units.set_holding(1, 0, 50);
    let server = Server::tcp(units.clone()).await.unwrap();
    let mut gateway = Gateway::new("gw-maint");
    gateway.configure(&compound(&server));
    beside(move || {
        gateway.start();
        until_read(&gateway, 50.0);
        assert_eq!(done(&gateway, &[]), "nothing is in maintenance\n");
        let begun = done(&gateway, &["--place", "3号楼", "--for", "2h", "--by", "Wang", "--note", "seals"]);
        assert!(begun.starts_with("maintenance of place 3号楼 begun until "), "{begun}");
        gateway.kill();

        units.set_holding(1, 0, 500);
        gateway.start();
        until_read(&gateway, 500.0);
        let listed = done(&gateway, &[]);
        for word in ["place 3号楼", "Wang", "seals"] {
            assert!(listed.contains(word), "{listed}");
        }
        let device = gateway.get("/api/v1/devices").unwrap()["devices"][0].clone();
        assert_eq!(device["state"], "maintenance");
        gateway.kill();
        gateway.start();
        until_read(&gateway, 500.0);
        assert!(gateway.tickets().is_empty(), "{:?}", gateway.tickets());

        let ended = done(&gateway, &["--place", "3号楼", "--end", "--json"]);
        assert!(ended.contains(r#""state":"ended""#), "{ended}");
        // The fault that is there at the end.
        let opened = gateway.until_told("ticket.opened", 1);
        assert_eq!(opened[0]["data"]["value"].as_f64(), Some(500.0));
        let told = of_kind(&gateway.events(), "gateway.maintenance");
        let states: Vec<_> = told.iter().map(|event| event["data"]["state"].as_str().unwrap()).collect();
        assert_eq!(states, ["begun", "ended"], "each once, whatever was killed");
        assert_eq!(told[0]["data"]["place"], "3号楼");
        assert_eq!(done(&gateway, &[]), "nothing is in maintenance\n");
        gateway.stop();
    })
    .await;
}

#[tokio::test]
async fn the_command_says_what_is_wrong_and_what_to_do() {
    let server = Server::tcp(Units::default()).await.unwrap();
    let mut gateway = Gateway::new("gw-maint-cli");
    gateway.configure(&compound(&server));
    beside(move || {
        gateway.start();
        for (arguments, names) in [
            (&["--device", "tnk", "--for", "2h"][..], "did you mean `tank`"),
            (&["--device", "tank", "--for", "800h"][..], "within 31 days"),
            (&["--device", "tank"][..], "--for <TIME>|--end"),
            (&["--device", "tank", "--rule", "high", "--end"][..], "cannot be used with"),
            (&["--for", "2h"][..], "required"),
            (&["--device", "tank", "--for", "2h", "--end"][..], "cannot be used with"),
        ] {
            let output = said(&gateway, arguments);
            assert!(!output.status.success(), "{arguments:?}");
            let why = text(&output.stderr);
            assert!(why.contains(names), "{arguments:?}: `{why}` does not say `{names}`");
        }
        gateway.stop();
    })
    .await;
}
