"""The methods of a memory that change or remove stored records, each in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mlret.memory.base import OpenMemory
from mlret.memory.ingest import change
from mlret.memory.ingest.erase import erase
from mlret.memory.ingest.forget import Policy, forget
from mlret.memory.results import Done, ErasureProof, Forgotten
from mlret.memory.scope import Scope


class MemoryEditing(OpenMemory):
    """Mixin with the operations of :class:`mlret.memory.memory.Memory` on stored records; each is one transaction."""

    def link(
        self,
        id: str,
        type: str,
        target: str,
        scope: Scope | None = None,
        *,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> Done:
        """Add a link from one record to another.

        Records linked as ``contradicts`` are returned by :meth:`search` with ``conflicts=True``.

        Parameters
        ----------
        id
            Id of the record that the link leads from.
        target
            Id of the record that the link leads to.
        type
            Type of the link, a word of your own or a known one (see :class:`mlret.memory.records.Link`).
        scope
            A scope that holds both records.
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.

        Returns
        -------
        Done
            The id of the record and the number of the operation.

        Raises
        ------
        InputError
            If the scope does not hold both records, they are the same record, or the link already exists.

        Examples
        --------
        >>> done = memory.link("nuts", "related", "home", anna)
        >>> memory.get("nuts", anna).links
        (Link(type='related', target='home'),)
        """
        store = self._memory(scope, within=True, user=user, agent=agent, run=run)
        with store.folder.writing():
            return change.link(store, id, type, target, store.scope)

    def unlink(
        self,
        id: str,
        type: str,
        target: str,
        scope: Scope | None = None,
        *,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> Done:
        """Remove a link between two records.

        Parameters
        ----------
        id
            Id of the record that the link leads from.
        type
            Type of the link.
        target
            Id of the record that the link leads to.
        scope
            A scope that holds both records.
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.

        Returns
        -------
        Done
            The id of the record and the number of the operation.

        Raises
        ------
        InputError
            If the scope does not hold both records, or there is no such link.

        Examples
        --------
        >>> done = memory.link("nuts", "related", "home", anna)
        >>> done = memory.unlink("nuts", "related", "home", anna)
        >>> memory.get("nuts", anna).links
        ()
        """
        store = self._memory(scope, within=True, user=user, agent=agent, run=run)
        with store.folder.writing():
            return change.link(store, id, type, target, store.scope, on=False)

    def merge(
        self,
        survivor: str,
        others: Sequence[str],
        scope: Scope | None = None,
        *,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> Done:
        """Merge records into one: ``survivor`` gains their strength, and the others are no longer found.

        :meth:`undo` of the operation, or :meth:`restore` of one of the records, reverses it.

        Parameters
        ----------
        survivor
            Id of the record that remains active.
        others
            Ids of one or more records to merge into it.
        scope
            A scope that holds all of them.
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.

        Returns
        -------
        Done
            The ids of all records, the survivor first, and the number of the operation.

        Raises
        ------
        InputError
            If the scope lacks one of the records, one is not active, they were not stored in exactly the same scope, or
            ``others`` is empty or contains ``survivor``.

        Examples
        --------
        >>> added = memory.add("Anna lives in Rome.", anna, id="home-2", language="en", dedupe=False)
        >>> memory.merge("home", ["home-2"], anna).ids
        ('home', 'home-2')
        >>> memory.get("home-2", anna).state
        'merged'
        """
        store = self._memory(scope, user=user, agent=agent, run=run)
        with store.folder.writing():
            return change.merge(store, survivor, others, store.scope)

    def delete(
        self,
        ids: str | Iterable[str],
        scope: Scope | None = None,
        *,
        cascade: bool = True,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> Done:
        """Hide records. :meth:`restore` or :meth:`undo` bring them back; use :meth:`erase` to leave nothing on disk.

        Parameters
        ----------
        ids
            One id or several.
        scope
            A scope that holds the records.
        cascade
            Whether to hide the records of the scope that were derived from them as well.
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.

        Returns
        -------
        Done
            The ids of all records that were hidden and the number of the operation.

        Raises
        ------
        InputError
            If no id is given, the scope lacks one of the records, or one is already deleted.

        Examples
        --------
        >>> done = memory.delete("home", anna)
        >>> memory.get("home", anna) is None
        True
        >>> memory.restore("home", anna).ids
        ('home',)
        """
        named = ids if isinstance(ids, str) else list(ids)
        store = self._memory(scope, within=True, user=user, agent=agent, run=run)
        with store.folder.writing():
            if cascade and change.derived_outside(store, named):
                store = self._memory(scope, user=user, agent=agent, run=run)
            return change.delete(store, named, store.scope, cascade=cascade)

    def restore(
        self,
        ids: str | Iterable[str],
        scope: Scope | None = None,
        *,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> Done:
        """Make records active again that were deleted, archived or merged.

        Parameters
        ----------
        ids
            One id or several.
        scope
            A scope that holds the records.
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.

        Returns
        -------
        Done
            The ids of the records and the number of the operation.

        Raises
        ------
        InputError
            If no id is given, the scope lacks one of the records, or one is already active.

        Examples
        --------
        >>> done = memory.delete(["nuts", "home"], anna)
        >>> done = memory.restore("nuts", anna)
        >>> [record.id for record in memory.list(anna)]
        ['nuts']
        """
        store = self._memory(scope, user=user, agent=agent, run=run)
        with store.folder.writing():
            return change.restore(store, ids, store.scope)

    def undo(
        self,
        operation: int,
        scope: Scope | None = None,
        *,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> Done:
        """Undo any operation except an erasure; later operations remain.

        Parameters
        ----------
        operation
            Number of the operation. Numbers count the operations on records of the scope.
        scope
            A scope that holds all records of the operation.
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.

        Returns
        -------
        Done
            The ids of the records and the number of the new operation, which can itself be undone.

        Raises
        ------
        InputError
            If the scope has no operation of that number, one of its records is outside the scope or erased (the message
            is the same in all of these cases), or what it changed has been changed again since.

        Examples
        --------
        >>> done = memory.update("home", anna, "Ich wohne jetzt in Oslo.", language="de")
        >>> undone = memory.undo(done.operation, anna)
        >>> memory.get("home", anna).text
        'Ich wohne seit 2021 in Rom.'
        """
        store = self._memory(scope, user=user, agent=agent, run=run)
        with store.folder.writing():
            return change.undo(store, operation)

    def erase(
        self,
        ids: str | Iterable[str],
        scope: Scope | None = None,
        *,
        cascade: bool = True,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> ErasureProof:
        """Erase records so that no byte of their texts or ids is left on disk. This cannot be undone.

        Parameters
        ----------
        ids
            One id or several.
        scope
            A scope that holds the records.
        cascade
            Whether to erase the records that were derived from them or merged into them as well, in any scope of the
            tenant.
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.

        Returns
        -------
        ErasureProof
            The result of reading all files of the store again and searching them for the texts and the ids.

        Raises
        ------
        InputError
            If no id is given, or the scope lacks one of the records.

        Examples
        --------
        >>> proof = memory.erase("nuts", anna)
        >>> proof.ids, proof.complete
        (('nuts',), True)
        """
        store = self._memory(scope, user=user, agent=agent, run=run)
        with store.folder.writing():
            return erase(store, ids, store.scope, cascade=cascade)

    def forget(
        self,
        policy: Policy,
        scope: Scope | None = None,
        *,
        dry_run: bool = True,
        user: str | None = None,
        agent: str | None = None,
        run: str | None = None,
    ) -> Forgotten:
        """Archive the records that meet a policy; :meth:`restore` or :meth:`undo` bring them back.

        Parameters
        ----------
        policy
            Which records to archive.
        scope
            The scope to look in.
        dry_run
            Only report what would be archived, and why.
        user
            User of the scope, instead of ``scope`` or in addition to it.
        agent
            Agent of the scope, likewise.
        run
            Run of the scope, likewise.

        Returns
        -------
        Forgotten
            The ids of the records, with the reason for each.

        Raises
        ------
        InputError
            If the scope cannot be used.

        Examples
        --------
        >>> from mlret.memory.ingest.forget import Policy
        >>> forgotten = memory.forget(Policy(keep=1), anna)
        >>> len(forgotten.reasons), forgotten.operation is None
        (1, True)
        """
        store = self._memory(scope, user=user, agent=agent, run=run)
        if dry_run:
            with store.lock:
                return forget(store, policy, store.scope, dry_run=True)
        with store.folder.writing():
            return forget(store, policy, store.scope, dry_run=False)
