"""The gateway: HTTP for Graphene's portal, for browsers and for programs.

It publishes requests and shows statuses, and never deploys. Any number of replicas run without sticky sessions: each
reads the whole status topic, and what one of them publishes has the same id as what another one would.
"""
