//! Models that nobody finetunes: a language model is asked, perhaps after it was shown texts with their answers
//! (Burns et al. 2023, section 5.2.1).

use super::{
    Compiler, Tested,
    bases::{Base, Rows, roles},
};
use crate::{
    Key,
    experiment::{Method, Pair, Prompting},
    plan::{Estimate, HeadInit, Part, Prepare, Role, Shots, Spec, Work},
    recipe::estimate,
};

impl Compiler<'_> {
    /// A student that is shown what its supervisor holds to be right.
    pub(super) fn prompted(&mut self, method: &Method, pair: Pair, seed: u64) {
        let (weak, strong) = (self.bases.supervisor(pair.weak), self.bases.at(pair.strong));
        let Prompting { shots, truth, .. } = method.prompting;
        let teaches = shots > 0 && !truth;
        let labels = teaches.then(|| {
            let teacher = self.teachers(&weak, method, seed);
            let rows = self.bases.rows(Part::WeakLabels);
            self.labels(&teacher, &rows, seed)
        });
        let title = format!("student {} {}>{} seed {seed}", method.word, weak.name, strong.name);
        let (weak, model) = (weak.name.clone(), strong.name.clone());
        let role = Role::Student { method: method.word.clone(), weak, strong: model };
        self.ask(method, &strong, labels, (title, role), seed);
    }

    /// Tests a model as it is, after shots with these answers, or with true ones.
    pub(super) fn ask(
        &mut self,
        method: &Method,
        base: &Base<'_>,
        labels: Option<Key>,
        (title, role): (String, Role),
        seed: u64,
    ) {
        let head = self.head(base, base.model.head_init.clone());
        let spec = Spec { work: Work::Prepare(Prepare::Head { head }), inputs: roles([("model", base.key)]) };
        let model = self.plan.add(format!("prompt {}", base.name), spec, Estimate::default());
        let rows = self.shown(method, base, labels, &title, seed);
        let oracle = method.sees_truth() && matches!(role, Role::Student { .. });
        self.test_on(&rows, title, base, Tested { oracle, ..Tested::of(role, model, seed) });
    }

    /// The test rows after their shots.
    fn shown(&mut self, method: &Method, base: &Base<'_>, labels: Option<Key>, of: &str, seed: u64) -> Rows {
        let rows = self.bases.rows(Part::Test);
        let HeadInit::Unembedding(answers) = &base.model.head_init else { return rows };
        let Prompting { shots: count, separator, .. } = method.prompting.clone();
        if count == 0 {
            return rows;
        }
        let shots = Shots { count, answers: answers.clone(), separator, seed };
        let work = Work::Prepare(Prepare::Prompted { part: rows.part, shots, max_tokens: base.max_tokens() });
        let inputs = [("data", rows.data), ("model", base.reader())].into_iter();
        let inputs = roles(inputs.chain(labels.map(|labels| ("labels", labels))));
        let title = format!("shots for {of}");
        let data = self.plan.add(title.clone(), Spec { work, inputs }, estimate(rows.count, 0));
        Rows { data, title, ..rows }
    }
}
