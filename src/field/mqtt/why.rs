//! Why a broker cannot be reached or is lost, for people: the cause, and the cure where it is known.

use rumqttc::mqttbytes;
use rustls::{AlertDescription, CertificateError};

use super::line::{MIB, PACKET_TAKEN_MAX};

/// Why a connection broke or never was, for people: the cause, and the cure where it is known.
pub fn why(error: &(impl std::error::Error + 'static)) -> String {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(this) = cause {
        if let Some(told) = told(this) {
            return told;
        }
        cause = this.source();
    }
    error.to_string()
}

/// The size of the packet that was over the bound, where that is why.
pub fn too_large(error: &(impl std::error::Error + 'static)) -> Option<usize> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(this) = cause {
        if let Some(bytes) = size(this) {
            return Some(bytes);
        }
        cause = this.source();
    }
    None
}

fn size(cause: &(dyn std::error::Error + 'static)) -> Option<usize> {
    match cause.downcast_ref() {
        Some(rumqttc::StateError::Deserialization(mqttbytes::Error::PayloadSizeLimitExceeded(bytes))) => {
            Some(*bytes)
        }
        _ => None,
    }
}

fn told(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(bytes) = size(cause) {
        return Some(format!(
            "it sends a message of {bytes} bytes, and more than {} MiB are not taken; narrow the topics of this \
             channel so that it is not among them, or speak MQTT 5, which lets the broker leave it out",
            PACKET_TAKEN_MAX / MIB
        ));
    }
    if refuses_login(cause) {
        return Some(
            "it refuses our login; look at `username` and `password`, and at who may connect there".into(),
        );
    }
    let v311 = matches!(cause.downcast_ref(), Some(rumqttc::ConnectionError::NotConnAck(_)));
    let v5 = matches!(cause.downcast_ref(), Some(rumqttc_v5::ConnectionError::NotConnAck(_)));
    if v311 || v5 {
        // Their words would show the message.
        return Some("it says something else before its greeting".into());
    }
    let inner = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    let of_tls =
        inner.and_then(|inner| inner.downcast_ref()).or_else(|| cause.downcast_ref::<rustls::Error>());
    of_tls.map(words)
}

fn refuses_login(cause: &(dyn std::error::Error + 'static)) -> bool {
    use rumqttc::{ConnectReturnCode as Code, ConnectionError};
    use rumqttc_v5::{ConnectReturnCode as CodeV5, ConnectionError as ErrorV5, StateError as StateV5};
    if let Some(ConnectionError::ConnectionRefused(code)) = cause.downcast_ref() {
        return matches!(code, Code::BadUserNamePassword | Code::NotAuthorized);
    }
    let code = match (cause.downcast_ref(), cause.downcast_ref()) {
        (Some(ErrorV5::ConnectionRefused(code)), _) => code,
        (_, Some(StateV5::ConnFail { reason })) => reason,
        _ => return false,
    };
    matches!(code, CodeV5::BadUserNamePassword | CodeV5::NotAuthorized)
}

/// Of TLS.
fn words(error: &rustls::Error) -> String {
    use CertificateError as Bad;
    match error {
        rustls::Error::InvalidCertificate(bad) => match bad {
            Bad::UnknownIssuer => {
                "nobody whom we trust has signed its certificate; name the CA that has with `ca`".into()
            }
            Bad::Expired | Bad::ExpiredContext { .. } => {
                "its certificate has expired; renew it there, or set this machine's clock".into()
            }
            Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                "its certificate is not valid yet; set this machine's clock".into()
            }
            Bad::NotValidForName | Bad::NotValidForNameContext { .. } => {
                "its certificate is for another name; write the name that is in it into `url`".into()
            }
            other => format!("its certificate cannot be believed: {other}"),
        },
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
                "it asks for a certificate of ours; name one with `cert` and `key`".into()
            }
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied => {
                "it does not accept our certificate; look at `cert`, and at the CA that the broker trusts"
                    .into()
            }
            AlertDescription::CertificateExpired => {
                "it says that our certificate has expired; renew what `cert` names".into()
            }
            other => format!("it refuses TLS ({other:?})"),
        },
        rustls::Error::InvalidMessage(_) => {
            "it does not speak TLS there; write `mqtt://`, or the port of its TLS listener".into()
        }
        other => format!("TLS: {other}"),
    }
}
