//! Kafka's requests: their keys, names, and versions.

/// `Produce`.
pub(super) const PRODUCE: i16 = 0;
/// `Fetch`.
pub(super) const FETCH: i16 = 1;
/// `ListOffsets`.
pub(super) const LIST_OFFSETS: i16 = 2;
/// `Metadata`.
pub(super) const METADATA: i16 = 3;
/// `OffsetCommit`.
pub(super) const OFFSET_COMMIT: i16 = 8;
/// `OffsetFetch`.
pub(super) const OFFSET_FETCH: i16 = 9;
/// `FindCoordinator`.
pub(super) const FIND_COORDINATOR: i16 = 10;
/// `JoinGroup`.
pub(super) const JOIN_GROUP: i16 = 11;
/// `Heartbeat`.
pub(super) const HEARTBEAT: i16 = 12;
/// `LeaveGroup`.
pub(super) const LEAVE_GROUP: i16 = 13;
/// `SyncGroup`.
pub(super) const SYNC_GROUP: i16 = 14;
/// `SaslHandshake`.
pub(super) const SASL_HANDSHAKE: i16 = 17;
/// `ApiVersions`.
pub(super) const API_VERSIONS: i16 = 18;
/// `InitProducerId`.
pub(super) const INIT_PRODUCER_ID: i16 = 22;
/// `SaslAuthenticate`.
pub(super) const SASL_AUTHENTICATE: i16 = 36;
/// `ConsumerGroupHeartbeat`.
pub(super) const CONSUMER_GROUP_HEARTBEAT: i16 = 68;

/// Versions that are newer than the newest known one by at most so many are believed in.
const AHEAD: i16 = 3;

/// A kind of request.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) name: &'static str,
    /// The first version with compact encodings and tagged fields.
    flexible: i16,
    /// The newest version that is known.
    newest: i16,
}

impl Api {
    /// Whether there is this version, or may be soon.
    pub(super) fn has(&self, version: i16) -> bool {
        (0..=self.newest + AHEAD).contains(&version)
    }

    /// Whether this version has compact encodings and tagged fields.
    pub(super) fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible
    }
}

/// The kind of request with this key.
pub(super) fn api(key: i16) -> Option<&'static Api> {
    APIS.get(usize::try_from(key).ok()?)
}

/// Shorthand for the table.
const fn a(name: &'static str, flexible: i16, newest: i16) -> Api {
    Api { name, flexible, newest }
}

/// By key.
static APIS: [Api; 93] = [
    a("Produce", 9, 13),
    a("Fetch", 12, 18),
    a("ListOffsets", 6, 11),
    a("Metadata", 9, 13),
    a("LeaderAndIsr", 4, 7),
    a("StopReplica", 2, 4),
    a("UpdateMetadata", 6, 8),
    a("ControlledShutdown", 3, 3),
    a("OffsetCommit", 8, 10),
    a("OffsetFetch", 6, 10),
    a("FindCoordinator", 3, 6),
    a("JoinGroup", 6, 9),
    a("Heartbeat", 4, 4),
    a("LeaveGroup", 4, 5),
    a("SyncGroup", 4, 5),
    a("DescribeGroups", 5, 6),
    a("ListGroups", 3, 5),
    a("SaslHandshake", i16::MAX, 1),
    a("ApiVersions", 3, 5),
    a("CreateTopics", 5, 7),
    a("DeleteTopics", 4, 6),
    a("DeleteRecords", 2, 2),
    a("InitProducerId", 2, 6),
    a("OffsetForLeaderEpoch", 4, 4),
    a("AddPartitionsToTxn", 3, 5),
    a("AddOffsetsToTxn", 3, 4),
    a("EndTxn", 3, 5),
    a("WriteTxnMarkers", 1, 2),
    a("TxnOffsetCommit", 3, 5),
    a("DescribeAcls", 2, 3),
    a("CreateAcls", 2, 3),
    a("DeleteAcls", 2, 3),
    a("DescribeConfigs", 4, 4),
    a("AlterConfigs", 2, 2),
    a("AlterReplicaLogDirs", 2, 2),
    a("DescribeLogDirs", 2, 5),
    a("SaslAuthenticate", 2, 2),
    a("CreatePartitions", 2, 3),
    a("CreateDelegationToken", 2, 3),
    a("RenewDelegationToken", 2, 2),
    a("ExpireDelegationToken", 2, 2),
    a("DescribeDelegationToken", 2, 3),
    a("DeleteGroups", 2, 2),
    a("ElectLeaders", 2, 2),
    a("IncrementalAlterConfigs", 1, 1),
    a("AlterPartitionReassignments", 0, 1),
    a("ListPartitionReassignments", 0, 0),
    a("OffsetDelete", i16::MAX, 0),
    a("DescribeClientQuotas", 1, 1),
    a("AlterClientQuotas", 1, 1),
    a("DescribeUserScramCredentials", 0, 0),
    a("AlterUserScramCredentials", 0, 0),
    a("Vote", 0, 2),
    a("BeginQuorumEpoch", 1, 1),
    a("EndQuorumEpoch", 1, 1),
    a("DescribeQuorum", 0, 2),
    a("AlterPartition", 0, 3),
    a("UpdateFeatures", 0, 2),
    a("Envelope", 0, 0),
    a("FetchSnapshot", 0, 1),
    a("DescribeCluster", 0, 2),
    a("DescribeProducers", 0, 0),
    a("BrokerRegistration", 0, 4),
    a("BrokerHeartbeat", 0, 1),
    a("UnregisterBroker", 0, 0),
    a("DescribeTransactions", 0, 0),
    a("ListTransactions", 0, 2),
    a("AllocateProducerIds", 0, 0),
    a("ConsumerGroupHeartbeat", 0, 1),
    a("ConsumerGroupDescribe", 0, 1),
    a("ControllerRegistration", 0, 0),
    a("GetTelemetrySubscriptions", 0, 0),
    a("PushTelemetry", 0, 0),
    a("AssignReplicasToDirs", 0, 0),
    a("ListConfigResources", 0, 1),
    a("DescribeTopicPartitions", 0, 0),
    a("ShareGroupHeartbeat", 0, 1),
    a("ShareGroupDescribe", 0, 1),
    a("ShareFetch", 0, 2),
    a("ShareAcknowledge", 0, 2),
    a("AddRaftVoter", 0, 1),
    a("RemoveRaftVoter", 0, 0),
    a("UpdateRaftVoter", 0, 0),
    a("InitializeShareGroupState", 0, 0),
    a("ReadShareGroupState", 0, 0),
    a("WriteShareGroupState", 0, 1),
    a("DeleteShareGroupState", 0, 0),
    a("ReadShareGroupStateSummary", 0, 1),
    a("StreamsGroupHeartbeat", 0, 0),
    a("StreamsGroupDescribe", 0, 0),
    a("DescribeShareGroupOffsets", 0, 1),
    a("AlterShareGroupOffsets", 0, 0),
    a("DeleteShareGroupOffsets", 0, 0),
];
