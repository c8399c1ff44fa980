//! How a site joins a federation: the token of an invitation, the conversation in which the site
//! gets its certificate, and the record of invitations and members. Random bytes and the time are
//! arguments.

mod base32;
mod conversation;
mod members;
mod token;

pub use conversation::{
    ALPN, BadPublicKey, EXPORTER, EnrolAnswer, EnrolRequest, Grant, PublicKey, binding,
};
pub use members::{
    Certificate, Invitation, InvitationState, JoinRefusal, Joining, MOST_WRONG, Member,
    MemberRefusal, Members, NewInvitation, Site, Use,
};
pub use token::{InvitationId, KeyHash, Secret, Token, TokenError, is_address};
