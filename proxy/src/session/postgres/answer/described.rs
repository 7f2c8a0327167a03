//! A result's description, on its way to the client: what becomes of the rows behind it.

use std::rc::Rc;

use codecs::postgres::backend::{ParameterDescription, RowDescription};
use linegate_config::RecordLevel;
use linegate_policy::PlanRefusal;
use linegate_recording::Entry;

use super::{Flow, Result};
use crate::session::postgres::asked::Asked;
use crate::session::postgres::pipeline::Expect;
use crate::session::postgres::results::{Kept, Plan};
use crate::session::postgres::{Ended, fresh};

impl Flow {
    /// A ParameterDescription, which says what a statement's parameters are.
    pub(super) fn parameters_described(&self, payload: &[u8]) {
        if let Ok(description) = ParameterDescription::read(payload) {
            let mut pipeline = self.session.pipeline.borrow_mut();
            pipeline.typed(|| description.types.collect());
        }
    }

    /// A RowDescription: compiles the mask plan for whatever it describes.
    pub(super) async fn described(&mut self, payload: &[u8]) -> std::result::Result<(), Ended> {
        let description = RowDescription::read(payload).map_err(|error| self.server_fault(&error))?;
        let head = self.session.pipeline.borrow().head().cloned();
        match head {
            Some(Expect::DescribePortal { portal, asked, .. }) => {
                let plan = self.plan(&asked, &description).await;
                self.session.plans.borrow_mut().made().insert(portal, plan);
            }
            Some(Expect::Query { asked }) => {
                self.session.described.set(asked.number);
                let plan = self.plan(&asked, &description).await;
                self.result = Result {
                    plan: Some(plan.clone()),
                    ..Result::default()
                };
                self.query_plan = Some(plan);
            }
            Some(Expect::OwnDescribe { .. }) => self.keep_copy(Some(&description)).await,
            _ => {}
        }
        Ok(())
    }

    /// Whether what is described next is what a COPY sends.
    pub(super) fn is_own_description(&self) -> bool {
        matches!(
            self.session.pipeline.borrow().head(),
            Some(Expect::OwnDescribe { .. })
        )
    }

    /// The description of what a COPY sends, or that there is none: compiles the plan that its rows will have.
    pub(super) async fn keep_copy(&mut self, description: Option<&RowDescription<'_>>) {
        let head = self.session.pipeline.borrow().head().cloned();
        let Some(Expect::OwnDescribe { asked }) = head else {
            return;
        };
        let session = self.session.clone();
        let (plan, decided, version) = match description {
            Some(description) => {
                let made = fresh::plan_of_copy(&session, &asked, description).await;
                self.record_columns(description, &made.0, &made.1);
                made
            }
            None => (Plan::refused(&session, PlanRefusal::Changed), asked.clone(), None),
        };
        self.transaction_touched |= decided.touches_mask(&session);
        let standing = session.standing.borrow().clone();
        let masks = decided.masks(&standing).into_owned();
        *session.copies.borrow_mut() = Some(Box::new(Kept {
            number: asked.number,
            asked: decided,
            masks,
            version,
            plan,
        }));
    }

    async fn plan(&mut self, asked: &Rc<Asked>, description: &RowDescription<'_>) -> Rc<Plan> {
        let (plan, asked) = fresh::plan(&self.session, asked, description).await;
        self.transaction_touched |= asked.touches_mask(&self.session);
        self.record_columns(description, &plan, &asked);
        Rc::new(plan)
    }

    fn record_columns(&self, description: &RowDescription<'_>, plan: &Plan, asked: &Asked) {
        if self.session.target.config.record < RecordLevel::Shape {
            return;
        }
        let entry = Entry::Columns {
            statement: asked.number,
            names: description
                .fields()
                .map(|field| String::from_utf8_lossy(field.name).into_owned())
                .collect(),
            types: description.fields().map(|field| field.type_oid).collect(),
            masked: plan.masked_columns(),
            formats: description
                .fields()
                .map(|field| u8::from(field.format == 1))
                .collect(),
        };
        if !self.session.core.record_now(self.session.id, entry) {
            tracing::warn!(session = %self.session.id, "column names are not on record: the recorder is behind");
        }
    }
}
