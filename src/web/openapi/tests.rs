//! The document against the router, the code's words and docs/errors.md.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::event::KINDS;
use crate::maintenance::Step;
use crate::ticket::State;
use crate::web::{Role, routes};

#[test]
fn every_file_is_read_and_nothing_is_said_twice() {
    let mut seen = BTreeSet::new();
    for text in SUBJECTS.iter().chain([&DOCUMENT]) {
        let file: Map<String, Json> = serde_json::from_str(text).unwrap();
        for part in ["paths", "schemas", "requestBodies", "responses"] {
            for name in file.get(part).and_then(Json::as_object).into_iter().flat_map(Map::keys) {
                assert!(seen.insert((part, name.clone())), "{part} has {name} twice");
            }
        }
    }
    assert!(seen.len() > 60, "{}", seen.len());
}

/// Paths by what the router says of itself, methods by what it answers to one that nobody has.
#[test]
fn the_document_has_the_calls_of_the_router_and_no_others() {
    let shown = format!("{:?}", routes());
    let (_, shown) = shown.split_once("paths: {").expect("a router that shows its paths");
    let (shown, _) = shown.split_once('}').map(|_| (shown, ())).unwrap();
    let mut routed = BTreeSet::new();
    for part in shown.split("RouteId(").skip(1) {
        let Some((_, path)) = part.split_once("): \"") else { break };
        let (path, _) = path.split_once('"').unwrap();
        routed.insert(path.replace("{*", "{"));
    }
    let document = document();
    let described: BTreeSet<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(described, routed);
}

#[test]
fn every_reference_leads_somewhere() {
    fn each<'a>(json: &'a Json, found: &mut Vec<&'a str>) {
        match json {
            Json::Object(members) => {
                for (name, member) in members {
                    match member {
                        Json::String(to) if name == "$ref" => found.push(to),
                        _ => each(member, found),
                    }
                }
            }
            Json::Array(items) => items.iter().for_each(|item| each(item, found)),
            _ => {}
        }
    }
    let document = document();
    let mut references = Vec::new();
    each(&document, &mut references);
    assert!(references.len() > 200);
    for to in &references {
        assert!(to.strip_prefix('#').and_then(|to| document.pointer(to)).is_some(), "{to} is not there");
    }
    let used: BTreeSet<&str> = references.iter().filter_map(|to| to.rsplit('/').next()).collect();
    // In a stream of lines no schema can be named.
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let unused: Vec<&String> = schemas.keys().filter(|name| !used.contains(name.as_str())).collect();
    assert_eq!(unused, ["Sighting"]);
}

#[test]
fn words_are_those_of_the_code() {
    let document = document();
    let words = |schema: &str| -> BTreeSet<String> {
        let schema = &document["components"]["schemas"][schema];
        schema["enum"].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(words("TicketState"), set(&State::ALL.map(State::word)));
    assert_eq!(words("Role"), set(&[Role::Central, Role::Technician, Role::Viewer].map(Role::word)));

    let kinds: BTreeSet<&str> = KINDS.split_whitespace().collect();
    assert_eq!(words("EventType"), kinds.iter().map(|kind| format!("gatehouse.{kind}")).collect());
    let groups = kinds.iter().filter_map(|kind| Some(format!("{}.*", kind.split_once('.')?.0)));
    let wanted = groups.chain(kinds.iter().map(|kind| (*kind).to_owned()));
    assert_eq!(words("EventTypeWanted"), wanted.collect());

    let told = document.pointer("/components/schemas/MaintenanceChange/properties/state/enum").unwrap();
    let steps = [Step::Begun, Step::Changed, Step::Ended].map(Step::word);
    assert_eq!(*told, serde_json::json!(steps));
}

#[test]
fn every_problem_that_can_be_looked_up_is_in_the_document() {
    let page = include_str!("../../../docs/errors.md");
    let (_, problems) = page.split_once("## Problems of the API").unwrap();
    let explained = problems.lines().filter_map(|line| line.strip_prefix("### "));
    let explained: BTreeSet<String> = explained.map(|word| format!("urn:gatehouse:problem:{word}")).collect();
    let document = document();
    let named = document.pointer("/components/schemas/ProblemType/enum").unwrap().as_array().unwrap();
    let named: BTreeSet<String> = named.iter().map(|word| word.as_str().unwrap().to_owned()).collect();
    assert_eq!(named, explained);
}

#[test]
fn every_call_has_a_name_of_its_own_and_what_all_can_answer() {
    let document = document();
    let mut names = BTreeMap::new();
    for (path, calls) in document["paths"].as_object().unwrap() {
        for method in METHODS {
            let Some(call) = calls.get(method) else { continue };
            let name = call["operationId"].as_str().unwrap();
            assert_eq!(names.insert(name, path), None, "{name} twice");
            let answers = call["responses"].as_object().unwrap();
            let has = |status: &str| answers.contains_key(status);
            assert!(has("400") && has("405") && has("503"), "{name}");
            assert_eq!(has("401"), call.get("security").is_none() || name == "openSession", "{name}");
            assert_eq!(has("415"), call.get("requestBody").is_some(), "{name}");
        }
    }
    assert!(names.len() > 30);
}
