//! The corridor: receives readings and people's actions, refines, asks the rules, writes what they caused in one
//! transaction. The only writer of the journal.
