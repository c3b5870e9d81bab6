//! The messages around a call (Hadoop 3.4, `RpcHeader.proto`, `IpcConnectionContext.proto`,
//! `ProtobufRpcEngine2.proto`).

use prost::Message;

/// `RPC_PROTOCOL_BUFFER`.
pub(crate) const PROTOCOL_BUFFER: i32 = 2;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct RequestHeader {
    #[prost(int32, optional, tag = "1")]
    pub(crate) rpc_kind: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    pub(crate) operation: Option<i32>,
    #[prost(sint32, required, tag = "3")]
    pub(crate) call_id: i32,
    #[prost(bytes = "vec", required, tag = "4")]
    pub(crate) client_id: Vec<u8>,
    #[prost(sint32, optional, tag = "5")]
    pub(crate) retry_count: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ResponseHeader {
    #[prost(uint32, required, tag = "1")]
    pub(crate) call_id: u32,
    #[prost(enumeration = "Status", required, tag = "2")]
    pub(crate) status: i32,
    #[prost(string, optional, tag = "4")]
    pub(crate) exception: Option<String>,
    #[prost(string, optional, tag = "5")]
    pub(crate) message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum Status {
    Success = 0,
    Error = 1,
    Fatal = 2,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ConnectionContext {
    #[prost(message, optional, tag = "2")]
    pub(crate) user: Option<UserInformation>,
    #[prost(string, optional, tag = "3")]
    pub(crate) protocol: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct UserInformation {
    #[prost(string, optional, tag = "1")]
    pub(crate) effective: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) real: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Call {
    #[prost(string, required, tag = "1")]
    pub(crate) method: String,
    #[prost(string, required, tag = "2")]
    pub(crate) protocol: String,
    #[prost(uint64, required, tag = "3")]
    pub(crate) version: u64,
}

/// A step of an authentication (Hadoop 3.4, `RpcSaslProto`).
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Sasl {
    #[prost(uint32, optional, tag = "1")]
    pub(crate) version: Option<u32>,
    #[prost(enumeration = "SaslState", required, tag = "2")]
    pub(crate) state: i32,
    #[prost(bytes = "vec", optional, tag = "3")]
    pub(crate) token: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) methods: Vec<SaslMethod>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SaslMethod {
    #[prost(string, required, tag = "1")]
    pub(crate) method: String,
    #[prost(string, required, tag = "2")]
    pub(crate) mechanism: String,
    #[prost(string, optional, tag = "3")]
    pub(crate) protocol: Option<String>,
    #[prost(string, optional, tag = "4")]
    pub(crate) server: Option<String>,
    #[prost(bytes = "vec", optional, tag = "5")]
    pub(crate) challenge: Option<Vec<u8>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(crate) enum SaslState {
    Success = 0,
    Negotiate = 1,
    Initiate = 2,
    Challenge = 3,
    Response = 4,
    Wrap = 5,
}
