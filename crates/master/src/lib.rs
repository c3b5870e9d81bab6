//! The daemon around the scheduling engine: the master of a standalone cluster, whose workers offer it
//! machines, and the dispatcher of Mesos, whose agents' offers come through a framework.

mod agent_access;
mod agents;
mod clients;
mod election;
mod in_process;
mod leadership;
mod output;
mod own_cluster;
mod rest;
mod routes;
mod serve;
mod shared;
mod spark_rpc;
mod store;
mod subscription;
mod web;
mod workers;
mod zookeeper;

pub use self::agent_access::{AgentAccess, Offers};
pub use self::agents::{AgentOrder, Agents, LeadershipWatch};
pub use self::in_process::InProcess;
pub use self::serve::{Master, MasterOptions};
pub use self::spark_rpc::{Leading, SparkRpc};
