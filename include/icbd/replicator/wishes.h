// Which versions a node wants before anyone reads them. Pure.
#pragma once

#include <vector>

#include "icbd/replicator/replicator.h"

namespace icbd::replicator {

// Of one image, the most wanted first: what people pulled, by number; then what the subscription
// says, the newest first. Without repetition. Complete ones are listed too.
std::vector<catalog::Version> wanted_versions(const VersionTable& table, const std::string& image);

// What a subscription wants, the newest first; fewer than `latest` if there are not so many,
// nothing while no version has the tag ("current" always names one, if there is any).
std::vector<catalog::Version> wanted_by(const VersionTable& table,
                                        const catalog::Subscription& subscription);

// "the newest 2 versions", "the version tagged stable"
std::string describe(const catalog::Subscription& subscription);

}  // namespace icbd::replicator
