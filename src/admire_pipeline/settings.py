"""Project settings: https://docs.kedro.org/en/stable/configure/kedro_settings/."""

from admire_pipeline.hooks import CampaignHooks
from admire_pipeline.session import InterruptibleSession

HOOKS = (CampaignHooks(),)
SESSION_CLASS = InterruptibleSession
CONFIG_LOADER_ARGS = {"base_env": "base", "default_run_env": "local"}
