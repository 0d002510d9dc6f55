//! The engines that bring workers to other machines: what each is told.

pub(crate) mod hostlist;
pub(crate) mod k8s;
pub(crate) mod shell;
pub(crate) mod slurm;
pub(crate) mod ssh;
