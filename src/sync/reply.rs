//! What the centre says of tickets in its reply to a batch: `{"tickets":[{"id","revision","external_id","state"}]}`.

use serde::Deserialize;
use serde_json::Value as Json;

use crate::ticket::{Action, CENTRE, State, Verb};

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    tickets: Vec<Json>,
}

#[derive(Deserialize)]
struct Word {
    id: String,
    revision: Option<u64>,
    /// A text; some systems have numbers.
    external_id: Option<Json>,
    state: Option<String>,
}

/// An external id is for people; a longer one is cut.
const TEXT_BYTES_MAX: usize = 1000;

/// The centre's words as actions, in its order, and how many of them made no sense.
pub fn words(body: &[u8]) -> (Vec<Action>, usize) {
    let Ok(reply) = serde_json::from_slice::<Reply>(body) else {
        // Any JSON is a fine answer; this one just says nothing of tickets.
        return (Vec::new(), 0);
    };
    let told = reply.tickets.len();
    let actions: Vec<_> = reply.tickets.into_iter().filter_map(action).collect();
    let senseless = told - actions.len();
    (actions, senseless)
}

fn action(word: Json) -> Option<Action> {
    let word: Word = serde_json::from_value(word).ok()?;
    let verb = match word.state.as_deref().map(State::named) {
        None | Some(Some(State::Open)) => Verb::Tell,
        Some(Some(State::Acknowledged)) => Verb::Acknowledge,
        Some(Some(State::InProgress)) => Verb::Start,
        Some(Some(State::Resolved)) => Verb::Resolve,
        Some(Some(State::Closed)) => Verb::Close,
        Some(None) => return None,
    };
    let external_id = match word.external_id {
        None | Some(Json::Null) => None,
        Some(Json::String(text)) => Some(cut(text)),
        Some(Json::Number(number)) => Some(number.to_string()),
        Some(_) => return None,
    };
    Some(Action {
        ticket: word.id.into(),
        verb,
        by: CENTRE.to_owned(),
        // The contract has none here. A note that changed with each reply would make an event and a push without end.
        note: None,
        external_id,
        revision: word.revision,
    })
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_the_action_that_leads_there() {
        let rows = [
            ("\"open\"", Verb::Tell),
            ("\"acknowledged\"", Verb::Acknowledge),
            ("\"in_progress\"", Verb::Start),
            ("\"resolved\"", Verb::Resolve),
            ("\"closed\"", Verb::Close),
            ("null", Verb::Tell),
        ];
        for (state, verb) in rows {
            let body = format!(
                r#"{{"tickets":[{{"id":"t1","revision":3,"external_id":"WO-7","state":{state},"note":"at 8:00","more":1}}]}}"#
            );
            let (actions, senseless) = words(body.as_bytes());
            let expected = Action {
                ticket: "t1".into(),
                verb,
                by: "centre".into(),
                note: None,
                external_id: Some("WO-7".into()),
                revision: Some(3),
            };
            assert_eq!((actions, senseless), (vec![expected], 0), "{state}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_counted_and_costs_the_others_nothing() {
        let body =
            br#"{"tickets":[7,{"id":"a","state":"lost"},{"revision":1},{"id":"b","external_id":42},{"id":"c","external_id":[]}]}"#;
        let (actions, senseless) = words(body);
        assert_eq!(senseless, 4);
        let [action] = &actions[..] else {
            panic!("{actions:?}");
        };
        assert_eq!((&*action.ticket, action.external_id.as_deref()), ("b", Some("42")));
    }

    #[test]
    fn other_json_says_nothing_of_tickets() {
        for body in ["{}", "[]", "null", "\"ok\"", r#"{"tickets":5}"#, r#"{"accepted":12}"#] {
            assert_eq!(words(body.as_bytes()), (vec![], 0), "{body}");
        }
    }
}
