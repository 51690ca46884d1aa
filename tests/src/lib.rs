//! What the end-to-end tests share: starting the agent, real servers and receivers, a client that keeps account of what it
//! sent, and the comparison of that account with the agent's spans. What is tested is said in `tests/e2e`.

pub mod accuracy;
pub mod agent;
pub mod check;
pub mod child;
pub mod drive;
pub mod group;
pub mod hosts;
pub mod nat;
pub mod netns;
pub mod paths;
pub mod ports;
pub mod profiles;
pub mod receivers;
pub mod records;
pub mod relay;
pub mod services;
pub mod span;
pub mod tls;
pub mod wait;
