//! The bytes of a connection: IPC version 9 with protocol buffers (Hadoop 3.4, `Client`, `Server`).

use anymaster_core::{Error, ErrorKind, Result};
use prost::Message;

use super::messages::{
    Call, ConnectionContext, PROTOCOL_BUFFER, RequestHeader, ResponseHeader, Sasl, Status,
    UserInformation,
};

/// What a connection without authentication begins with: `hrpc`, version 9, service class 0, SIMPLE.
pub(crate) const HEADER: [u8; 7] = *b"hrpc\x09\x00\x00";
/// What a connection with authentication begins with.
pub(crate) const HEADER_SASL: [u8; 7] = *b"hrpc\x09\x00\xdf";
/// The id of messages of an authentication.
pub(crate) const SASL: i32 = -33;
/// The id of the message that says who calls.
const CONTEXT: i32 = -3;
/// The longest response that is read: 10,000 applications are some ten megabytes.
pub(crate) const MAX_RESPONSE: usize = 128 << 20;

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user that the call is made for.
    pub user: String,
    /// The user that makes it in that one's place, if it is another one (`--proxy-user`).
    pub real_user: Option<String>,
}

/// A frame of a header and the messages after it, each of which is already with its length.
fn frame(header: &RequestHeader, messages: &[Vec<u8>]) -> Vec<u8> {
    let body = [&[header.encode_length_delimited_to_vec()], messages].concat().concat();
    [&(body.len() as u32).to_be_bytes()[..], &body].concat()
}

fn header(call_id: i32, client_id: [u8; 16], retry_count: i32) -> RequestHeader {
    RequestHeader {
        rpc_kind: Some(PROTOCOL_BUFFER),
        operation: Some(0),
        call_id,
        client_id: client_id.to_vec(),
        retry_count: Some(retry_count),
    }
}

/// A step of an authentication. It is of no client.
pub(crate) fn sasl(message: &Sasl) -> Vec<u8> {
    let header = RequestHeader {
        rpc_kind: Some(PROTOCOL_BUFFER),
        operation: Some(0),
        call_id: SASL,
        client_id: Vec::new(),
        retry_count: Some(-1),
    };
    frame(&header, &[message.encode_length_delimited_to_vec()])
}

/// Says who calls, unless a token has said it, and in which protocol. It has no answer.
pub(crate) fn context(protocol: &str, client_id: [u8; 16], caller: Option<&Caller>) -> Vec<u8> {
    let user = caller.cloned().map(|Caller { user, real_user }| UserInformation {
        effective: Some(user),
        real: real_user,
    });
    let context = ConnectionContext { user, protocol: Some(protocol.to_owned()) };
    frame(&header(CONTEXT, client_id, -1), &[context.encode_length_delimited_to_vec()])
}

/// A call.
pub(crate) fn call(
    protocol: &str,
    method: &str,
    client_id: [u8; 16],
    call_id: i32,
    request: &impl Message,
) -> Vec<u8> {
    let call = Call { method: method.to_owned(), protocol: protocol.to_owned(), version: 1 };
    let messages =
        [call.encode_length_delimited_to_vec(), request.encode_length_delimited_to_vec()];
    frame(&header(call_id, client_id, 0), &messages)
}

/// Reads what follows the length of a response: the id of its call, and what came of that.
pub(crate) fn response<R: Message + Default>(mut bytes: &[u8]) -> Result<(u32, Result<R>)> {
    let broken = |error| Error::protocol("an answer of Hadoop's is damaged").with_source(error);
    let header = ResponseHeader::decode_length_delimited(&mut bytes).map_err(broken)?;
    let answer = match header.status() {
        Status::Success => Ok(R::decode_length_delimited(&mut bytes).map_err(broken)?),
        Status::Error | Status::Fatal => Err(refusal(
            header.exception.as_deref().unwrap_or_default(),
            header.message.as_deref().unwrap_or_default(),
        )),
    };
    Ok((header.call_id, answer))
}

/// An exception of the server's. Of its message, which has a stack trace, the first line is told.
pub(crate) fn refusal(exception: &str, message: &str) -> Error {
    let class = exception.rsplit('.').next().unwrap_or_default();
    let line = message.lines().next().unwrap_or_default();
    let line =
        line.strip_prefix(exception).map_or(line, |rest| rest.trim_start_matches([':', ' ']));
    let kind = match class {
        "ApplicationNotFoundException"
        | "ApplicationAttemptNotFoundException"
        | "ContainerNotFoundException"
        | "FileNotFoundException" => ErrorKind::NotFound,
        "AccessControlException" | "AuthorizationException" => ErrorKind::Denied,
        "StandbyException" => ErrorKind::NotLeader,
        "RetriableException" | "SafeModeException" => ErrorKind::Unavailable,
        "DSQuotaExceededException" | "NSQuotaExceededException" => ErrorKind::Quota,
        // A block that no data node takes.
        "IOException" if line.contains("could only be ") => ErrorKind::Unavailable,
        "InvalidToken" | "SaslException" => ErrorKind::Unauthenticated,
        "RpcServerException" | "RpcNoSuchMethodException" | "RpcNoSuchProtocolException" => {
            ErrorKind::Protocol
        }
        _ => ErrorKind::InvalidSpec,
    };
    let text = if line.is_empty() { class.to_owned() } else { format!("{line} ({class})") };
    let error = Error::new(kind, text);
    if line.contains("SIMPLE authentication is not enabled") {
        return Error::unsupported(
            "the cluster wants Kerberos (SIMPLE authentication is not enabled)",
        )
        .with_hint("Kerberos is not implemented: submit with Spark's own spark-submit");
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a client of Hadoop 3.4.1 and its ResourceManager said to each other.
    const CLIENT: [u8; 16] = [
        0x68, 0x54, 0x16, 0x3c, 0xbb, 0xf0, 0x40, 0xce, 0xad, 0x39, 0x75, 0xd6, 0x3e, 0x0b, 0xa9,
        0xe2,
    ];
    const PROTOCOL: &str = "org.apache.hadoop.yarn.api.ApplicationClientProtocolPB";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    #[test]
    fn frames_are_those_of_hadoops_own_client() {
        let caller = Caller { user: "root".to_owned(), real_user: None };
        assert_eq!(
            context(PROTOCOL, CLIENT, Some(&caller)),
            bytes(
                "0000005c1a08021000180522106854163cbbf040cead3975d63e0ba9e228014012060a04726f6f741a366f72672e6170
                 616368652e6861646f6f702e7961726e2e6170692e4170706c69636174696f6e436c69656e7450726f746f636f6c5042"
            )
        );
        assert_eq!(
            call(PROTOCOL, "getNewApplication", CLIENT, 1, &()),
            bytes(
                "0000006a1a08021000180222106854163cbbf040cead3975d63e0ba9e228004d0a116765744e65774170706c69636174
                 696f6e12366f72672e6170616368652e6861646f6f702e7961726e2e6170692e4170706c69636174696f6e436c69656e
                 7450726f746f636f6c5042180100"
            )
        );
    }

    #[test]
    fn an_answer_is_read_and_a_damaged_one_is_told() {
        let answer = bytes("1a0802100018093a106854163cbbf040cead3975d63e0ba9e2400000");
        let (id, answered) = response::<()>(&answer).unwrap();
        assert_eq!(id, 2);
        answered.unwrap();
        for cut in 0..answer.len() - 1 {
            assert!(response::<()>(&answer[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn exceptions_become_errors_of_their_kind_with_one_line() {
        let error = refusal(
            "org.apache.hadoop.yarn.exceptions.ApplicationNotFoundException",
            "Application with id 'application_1_0001' doesn't exist in RM.\n\tat org.apache…",
        );
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(!error.message().contains('\n') && error.message().contains("doesn't exist"));
        let error = refusal(
            "x.AccessControlException",
            "SIMPLE authentication is not enabled.  Available:[TOKEN]",
        );
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}
