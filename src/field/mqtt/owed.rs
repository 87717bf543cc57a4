//! Messages that are handed on and not yet acknowledged: each waits until what it says is on the disk. They are
//! acknowledged in the order in which they came, as MQTT wants it; those of one transaction go out together.

use std::collections::VecDeque;

use super::inbox::Reply;
use super::line::{Mail, Mouth};
use crate::reading::Batch;
use crate::receipt::Receipt;

/// When so many wait, no more are read.
pub const OWED_MOST: usize = 32;

#[derive(Debug, Default)]
pub struct Owed {
    debts: VecDeque<Debt>,
    /// Of the last thing handed on, whatever became of its connection.
    last: Option<Receipt>,
}

#[derive(Debug)]
struct Debt {
    mail: Mail,
    /// What the device is told beside.
    replies: Vec<Reply>,
    /// `None`: nothing has ever been handed on.
    receipt: Option<Receipt>,
}

impl Owed {
    /// Has intake sign for all of this. Intake takes one after the other, so that the last one stands for all; and what
    /// says nothing new may be told again because of what is still under way: it waits for that.
    pub fn for_signing(&mut self, batches: &mut [Batch]) {
        if let Some(batch) = batches.last_mut() {
            let receipt = Receipt::default();
            batch.kept = Some(receipt.clone());
            self.last = Some(receipt);
        }
    }

    /// It has been handed on just now.
    pub fn push(&mut self, mail: Mail, replies: Vec<Reply>) {
        self.debts.push_back(Debt { mail, replies, receipt: self.last.clone() });
    }

    pub fn is_empty(&self) -> bool {
        self.debts.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.debts.len() >= OWED_MOST
    }

    /// Until something can be acknowledged; for ever where nothing waits.
    pub async fn ripe(&self) {
        match self.debts.front() {
            Some(Debt { receipt: Some(receipt), .. }) => receipt.signed().await,
            Some(Debt { receipt: None, .. }) => {}
            None => std::future::pending().await,
        }
    }

    /// Acknowledges what is on the disk. Whether that could be said.
    pub fn settle(&mut self, mouth: &Mouth) -> bool {
        let is_kept = |debt: &Debt| debt.receipt.as_ref().is_none_or(Receipt::is_signed);
        while let Some(debt) = self.debts.pop_front_if(|debt| is_kept(debt)) {
            for reply in debt.replies {
                // Where there is no room for it, the device asks again.
                mouth.say(reply.topic, reply.payload);
            }
            if !mouth.acknowledge(&debt.mail) {
                return false;
            }
        }
        true
    }

    /// The connection is gone: nothing of it can be acknowledged any more, and all of it comes again.
    pub fn forget(&mut self) {
        self.debts.clear();
    }
}
