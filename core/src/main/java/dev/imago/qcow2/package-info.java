/** The qcow2 format, versions 2 and 3. */
@NullMarked
package dev.imago.qcow2;

import org.jspecify.annotations.NullMarked;
