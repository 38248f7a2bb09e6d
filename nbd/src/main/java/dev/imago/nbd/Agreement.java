package dev.imago.nbd;

import java.util.List;

/**
 * What a handshake ended with.
 *
 * @param contexts what BLOCK_STATUS tells about, in the order of their ids, which are 0, 1, 2…
 */
record Agreement(ServedExport export, ReplyStyle style, List<StatusSource> contexts) {}
