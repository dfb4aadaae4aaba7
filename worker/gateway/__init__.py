"""The gateway: HTTP for Graphene's portal, for browsers and for programs.

The gateway publishes requests and shows statuses. It never deploys. Any number of replicas can run without sticky
sessions: each replica reads the whole status topic, and every replica gives the same click the same request id.
"""
