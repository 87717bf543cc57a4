//! How a DL/T 645 meter is asked: by its address, for a block or value by value, over as many frames as it takes.

use tracing::{debug, info};

use super::dlt645;
use super::dlt645_plan::{Group, Part};
use super::line::{Line, Question};
use crate::field::poll::Failure;
use crate::field::wire::Link;
use crate::reading::Reason;

/// Whose address it is.
#[derive(Debug, Clone, Copy)]
pub enum Whose {
    Printed(dlt645::Address),
    /// The meter's that is alone on its line, once it was asked for it.
    Alone(Option<dlt645::Address>),
}

/// A block goes on over so many frames at the most.
const FOLLOW_UPS_MOST: u8 = 16;

/// The meter's address; one that is alone on its line is asked for it.
pub async fn whom(address: &mut Whose, line: &mut Line, link: &mut Link) -> Result<dlt645::Address, Failure> {
    match address {
        Whose::Printed(address) | Whose::Alone(Some(address)) => Ok(*address),
        Whose::Alone(known) => {
            let frame = dlt645::read_address();
            let question = Question::framed(&frame, dlt645::WAKE_BYTES + dlt645::FRAME_BYTES + 6);
            let named = line.ask(link, question, dlt645::named_address).await?;
            info!(address = dlt645::printed(&named), "A meter named its address.");
            Ok(*known.insert(named))
        }
    }
}

/// What the meter says of each part, its digits or why there are none: of all where it knows the block, or of the part
/// `next`, with a transaction for each. Empty where it answers, but does not know the block.
pub async fn ask_group(
    group: &Group,
    next: Option<usize>,
    to: &dlt645::Address,
    line: &mut Line,
    link: &mut Link,
) -> Result<Vec<Result<i64, Reason>>, Failure> {
    if let (Some(block), None) = (group.block, next) {
        match ask_di(block, dlt645::DATA_MOST, to, line, link).await {
            Ok(data) => {
                let values = data.and_then(|data| group.values(&data)).unwrap_or_default();
                return Ok(values.into_iter().map(|v| v.ok_or(Reason::Unreadable)).collect());
            }
            // There are meters that are silent to what they do not know. Whether it is there shows its first value.
            Err(Failure::Silent | Failure::Wrong) => {}
            Err(failure) => return Err(failure),
        }
    }
    let Some(part) = group.parts.get(next.unwrap_or(0)) else { return Err(Failure::Wrong) };
    Ok(vec![ask_part(part, to, line, link).await?])
}

async fn ask_part(
    part: &Part,
    to: &dlt645::Address,
    line: &mut Line,
    link: &mut Link,
) -> Result<Result<i64, Reason>, Failure> {
    let said = ask_di(part.di, part.bytes(), to, line, link).await?;
    Ok(match said {
        Some(data) => part.value(&data).ok_or(Reason::Unreadable),
        None => Err(Reason::DeviceError),
    })
}

/// What the meter says to this DI, of about so many bytes, over as many frames as it takes; `None` where it refuses.
async fn ask_di(
    di: u32,
    bytes: usize,
    to: &dlt645::Address,
    line: &mut Line,
    link: &mut Link,
) -> Result<Option<Vec<u8>>, Failure> {
    let (frame, most) = (dlt645::read(to, di), dlt645::WAKE_BYTES + dlt645::FRAME_BYTES + 5 + bytes);
    let mut answer =
        line.ask(link, Question::framed(&frame, most), |heard| dlt645::answer(heard, to, di)).await?;
    let mut all = Vec::new();
    for nth in 1..=FOLLOW_UPS_MOST {
        match answer {
            dlt645::Answer::Data { data, more } => {
                all.extend(data);
                if !more {
                    return Ok(Some(all));
                }
            }
            dlt645::Answer::Refused(error) => {
                let why = dlt645::reason(error);
                debug!(di = format!("{di:08X}"), why, "A meter refuses.");
                line.remark(why);
                return Ok(None);
            }
        }
        let frame = dlt645::follow_up(to, di, nth);
        let find = |heard: &[u8]| dlt645::followed_up(heard, to, di, nth);
        answer = line.ask(link, Question::framed(&frame, most), find).await?;
    }
    Err(Failure::Wrong)
}
