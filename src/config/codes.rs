//! The kinds of mistakes: one for each thing that has to be done about it, so that it can be looked up. `docs/errors.md`
//! has a section for each.

use std::fmt;

/// Each with its number and its title. A number that was given out keeps its meaning: people look it up years later.
macro_rules! codes {
    ($($name:ident $number:literal $title:literal;)*) => {
        /// What kind of mistake it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = $title] $name,)*
        }

        impl Code {
            /// In the order of their numbers.
            pub const ALL: &[Code] = &[$(Code::$name),*];

            /// `E201`; a warning begins with `W`.
            pub fn number(self) -> &'static str {
                match self { $(Code::$name => $number,)* }
            }

            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }
        }
    };
}

codes! {
    // Files and syntax.
    Unreadable "E101" "A file cannot be read";
    NoSuchFile "E102" "A file is named that does not exist";
    TooLarge "E103" "A file is too large, or there are too many";
    NotUtf8 "E104" "A file is not UTF-8";
    Syntax "E105" "Not TOML";
    InTwoFiles "E106" "One thing stands in two files";

    // Keys and values.
    UnknownKey "E201" "An unknown key";
    MissingKey "E202" "A key is missing";
    WrongType "E203" "A value of the wrong type";
    OutOfRange "E204" "A number, span or size out of bounds";
    NotOneOf "E205" "A word that is none of the words there are";
    Brackets "E206" "One bracket or two";
    NotInThisVersion "E207" "Not in this version";
    BadSpan "E208" "A span of time or a size that is none";
    BadText "E209" "A text that cannot be used";
    BadName "E210" "A name that cannot be used";
    ListLength "E211" "Too few or too many in a list";
    BadPattern "E212" "A pattern that is none";
    Backwards "E213" "Two bounds the wrong way round";
    NeedsAnother "E214" "A key that needs another beside it";
    Excludes "E215" "Two keys of which only one may stand";
    OfNoUse "E216" "A key that means nothing here";

    // Names.
    SecondName "E301" "The same name twice";
    OneTooMany "E302" "One too many";
    NoSuchChannel "E303" "A channel is named that does not exist";
    NoSuchDevice "E304" "A device is named that does not exist";
    NoSuchPoint "E305" "A point is named that does not exist";
    NoSuchProfile "E306" "A profile is named that does not exist";
    NoSuchDoor "E307" "A door is named that does not exist";
    NoSuchAction "E308" "A device knows no such order";
    NoSuchToken "E309" "A consumer without a token of its name";
    NoSuchEvent "E310" "There is no such event";
    NameOfAnother "E311" "A name that something else has";

    // Channels.
    BadAddress "E401" "An address that is none";
    BadPath "E402" "A path that is not whole";
    WireTwice "E403" "Two channels on one wire";
    BadTopic "E404" "A topic that cannot be used";

    // Devices and points.
    AddressTaken "E501" "Two devices at one address";
    WrongChannel "E502" "A profile on the wrong kind of channel";
    NoPoints "E503" "A device without points";
    NothingSuggested "E504" "Nothing is suggested that could be turned on";
    BeyondTheLast "E505" "Beyond the last register or bit";
    RegisterMisfit "E506" "A key that does not fit this kind of register";
    BadMeterNumber "E507" "A meter's number or data identifier that is none";
    BadPointer "E508" "A JSON Pointer that is none";
    BadMap "E509" "Words for values that cannot come";

    // Rules.
    NoCondition "E601" "A rule without a condition";
    TwoConditions "E602" "A rule with two conditions";
    NeverSo "E603" "A condition that can never be met";
    NeverGone "E604" "A condition that would never be gone";
    BadExpression "E605" "An expression that cannot be understood";
    BadSchedule "E606" "A schedule that is none";
    BadTitle "E607" "A title with a placeholder that does not exist";

    // Doors, lockers, orders.
    NotForADoor "E701" "A device or point that is of no use to a door";
    WriteMisfit "E702" "A value that cannot be written so";
    CannotLast "E703" "An order that cannot last for so long";
    BadHours "E704" "Hours or days that are none";
    OrdersInTheOpen "E705" "A server that anybody could be would give orders";

    // The gateway and its services.
    NoTimezone "E801" "There is no such timezone";
    OpenToOthers "E802" "The API would be open to others";
    CertificateUnusable "E803" "A certificate or a key that cannot be used";
    KeyOfAnother "E804" "A key that is not its certificate's";

    // Secrets and people.
    SecretInTheOpen "E901" "A secret stands in the configuration";
    SecretNotNamed "E902" "A secret that is not named in one of three ways";
    SecretNotThere "E903" "A secret that is not where it should be";
    SecretUnusable "E904" "A secret that cannot be used";
    NoPrivacy "E905" "People would be named";

    // Warnings: it runs.
    AnyoneMaySpeak "W401" "Anyone at the broker may speak for a door";
    FactoryLine "W501" "A line that differs from what the device leaves the factory with";
    NobodyDecides "W701" "A door that would be forced each time";
    CertificateOver "W801" "A certificate that ends soon, or does not count now";
    ShortToken "W911" "A token that can be guessed";
    OneTokenForTwo "W912" "One token under two names";
    TokenInTheClear "W913" "A token that goes over the network in the clear";
    SecretInAddress "W914" "A secret in the address of a centre";
    OneKeyForTwo "W915" "One secret for two keys";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_of_one_form_and_rise() {
        let number = |code: &Code| code.number().to_owned();
        let is_number = |text: &String| {
            text.len() == 4 && text.starts_with(['E', 'W']) && text[1..].bytes().all(|b| b.is_ascii_digit())
        };
        assert!(Code::ALL.iter().map(number).all(|n| is_number(&n)));
        assert!(Code::ALL.is_sorted_by(|a, b| a.number() < b.number()));
    }
}
